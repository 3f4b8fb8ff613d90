-- Two-sided p-value of the exact sign test: wins as likely as losses. For right and wrong answers, this is McNemar's test.
select
    least(1, 2 * list_sum([
        exp(
            lgamma($wins + $losses + 1) - lgamma(k + 1) - lgamma($wins + $losses - k + 1) - ($wins + $losses) * ln(2)
        ) for k in range(0, least($wins, $losses) + 1)
    ]))
