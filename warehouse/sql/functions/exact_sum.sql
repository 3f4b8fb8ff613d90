-- Sum that does not depend on the order of rows, unlike a floating-point sum: it adds integer multiples of 2^-80.
-- Totals up to 1e14; values that are not finite are skipped.
select sum(try_cast($value * pow(2, 80) as hugeint)) / pow(2, 80)
