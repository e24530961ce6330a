# Turns job.sh into a C string, a line at a time.
s/[\"]/\\&/g
s/^/    "/
s/$/\\n"/
1i #include "slurm.h"\n\nconst char slurm_job_body[] =
$s/$/;/
