-- Key and title of a suite's benchmarks, in the order of its columns. Parameter: $suite.
select distinct
    benchmark,
    benchmark_title,
    benchmark_position
from main.suites
where suite = $suite and is_newest
order by benchmark_position, benchmark
