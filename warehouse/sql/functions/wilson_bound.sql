-- Bound of Wilson's score interval (1927) for the mean of values between 0 and 1:
-- the lower one for negative z, the upper one for positive z.
select
    case
        when $mean + $size is not null
            then greatest(0, least(1, (
                $mean + pow($z, 2) / (2 * $size) + $z * sqrt($mean * (1 - $mean) / $size + pow($z / (2 * $size), 2))
            ) / (1 + pow($z, 2) / $size)))
    end
