-- One row per benchmark that a suite now declares, with its title, in the order of its profile. Parameter: $suite.
select
    benchmark,
    min(benchmark_title) as benchmark_title,
    min(benchmark_position) as position
from main.suites
where suite = $suite and is_newest
group by benchmark
order by position, benchmark
