-- Standard normal statistic of a paired difference, by the variance that it would have if there were no difference (see
-- paired_variance). For right and wrong answers of equal weight: (wins - losses) / sqrt(wins + losses + 2).
select
    $difference * $size / ($size + 2) / sqrt(
        main.paired_variance($difference, $reach, $size, $spread)
        + pow($difference * $size / ($size + 2), 2) / ($size + 2)
    )
