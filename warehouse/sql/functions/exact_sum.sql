-- Sum that is the same in whatever order rows come, as one of floating-point numbers is not: whole numbers of 2^-80 are added.
-- Up to 1e14 in all; what is not finite is left out.
select sum(try_cast($value * pow(2, 80) as hugeint)) / pow(2, 80)
