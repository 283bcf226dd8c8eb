-- Gives what "read_tally" does.
return {read_tally()}
