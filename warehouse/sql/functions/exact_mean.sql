-- Mean that does not depend on the order of rows (see exact_sum).
select main.exact_sum($value) / count(try_cast($value * pow(2, 80) as hugeint))
