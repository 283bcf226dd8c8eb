-- Empties the job.
clear()
return 0
