-- Half of the 95% interval around $difference * $size / ($size + 2): the interval holds the differences that paired_z does not
-- reject. Infinite where that is all of them: for a single question.
select
    case
        when $spread is null then null
        when $size + 2 > pow(1.959963984540054, 2)
            then 1.959963984540054 * sqrt(
                main.paired_variance($difference, $reach, $size, $spread) / (1 - pow(1.959963984540054, 2) / ($size + 2))
            )
        else 'infinity'::double
    end
