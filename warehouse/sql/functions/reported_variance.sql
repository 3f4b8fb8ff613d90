-- Sampling variance of a mean by the standard error that was reported. One that no answers can have, such as 0, beside a
-- value between 0 and 1 counts as not reported: that of n documents, each right or wrong, takes its place.
select
    case
        when $value > 0 and $value < 1 and not ($stderr > 0 and pow($stderr, 2) <= $value * (1 - $value))
            then $value * (1 - $value) / nullif($n, 0)
        else pow($stderr, 2)
    end
