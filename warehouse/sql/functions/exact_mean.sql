-- Mean that is the same in whatever order the rows come (see exact_sum).
select main.exact_sum($value) / count(try_cast($value * pow(2, 80) as hugeint))
