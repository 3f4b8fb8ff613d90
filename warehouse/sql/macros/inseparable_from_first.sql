-- One row per row of a suite's current era that may be the best one: no other one is significantly better, if all differences to
-- it are tested at once (Bonferroni). The best model is among these with 95% confidence, whichever is ranked first (multiple
-- comparisons with the best, Hsu 1984; Mogstad, Romano, Shaikh & Wilhelm 2024). Parameter: $suite.
with
inseparable as (
    select leaderboard.*
    from main.leaderboard as leaderboard
    where leaderboard.suite = $suite and leaderboard.is_current_era and leaderboard.rank_low = 1
    order by leaderboard.rank
)

select * from inseparable
