-- Two-sided p-value of a standard normal statistic, to 2e-7 of itself: erfc(|z| / sqrt(2)).
select
    least(
        1,
        1 / (1 + abs($z) / sqrt(8)) * exp(-pow($z, 2) / 2 + main.erfc_exponent(1 / (1 + abs($z) / sqrt(8))))
    )
