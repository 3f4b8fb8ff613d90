-- Two-sided p-value of the exact sign test: wins and losses as likely as each other. With right and wrong answers: McNemar's.
select
    least(1, 2 * list_sum([
        exp(
            lgamma($wins + $losses + 1) - lgamma(k + 1) - lgamma($wins + $losses - k + 1) - ($wins + $losses) * ln(2)
        ) for k in range(0, least($wins, $losses) + 1)
    ]))
