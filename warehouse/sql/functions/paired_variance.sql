-- Variance of a paired difference with two questions more, one won and one lost (Bonett & Price 2012, for proportions), so that
-- a few questions without any win or loss do not look certain. Such a difference is $difference * $size / ($size + 2).
-- $size is the number of equally weighted questions (Kish 1965), $spread the sum of the squared influences.
select
    (
        (pow($size, 2) * $spread + $size * pow($difference, 2) + 2 * pow($reach, 2)) / ($size + 2)
        - pow($difference * $size / ($size + 2), 2)
    ) / ($size + 2)
