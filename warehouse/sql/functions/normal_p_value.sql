-- Two-sided p-value of a standard normal statistic, with a relative error of 2e-7: erfc(|z| / sqrt(2)).
select
    case
        when $z is not null
            then least(
                1,
                1 / (1 + abs($z) / sqrt(8)) * exp(-pow($z, 2) / 2 + main.erfc_exponent(1 / (1 + abs($z) / sqrt(8))))
            )
    end
