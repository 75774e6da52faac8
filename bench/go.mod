module interlock.invalid/bench

go 1.21
