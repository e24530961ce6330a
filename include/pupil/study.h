/** study: cells, what is missing, statistics, report. For now: the report of one run.
 *
 *  report.html is made from the files of a run directory alone, so `pupil report DIR` can be run again at
 *  any time, on any machine:
 *    resolved.yaml        the settings
 *    run.json             one object: {"versions":{...},"plan":{...},"teacher":{...},"student":{...},
 *                         "cache":{...},"data":{...},"phases":[{"name","seconds","pairs"}...]}
 *    metrics.jsonl        one object a step, see below
 *    teacher-metrics.jsonl  the same for a teacher trained here (may be missing)
 *    eval.json            the results, see below
 *    samples/NNN.png      pictures of the sample questions in eval.json
 *  metrics line: {"step":12,"epoch":0,"loss":..,"terms":{"task":..,"crd":..},"lr":..,"grad_norm":..,
 *    "logit_scale":..,"pairs_per_s":..,"ranks":2,"seconds":{"data":..,"forward":..,"loss":..,"backward":..,"reduce":..,
 *    "update":..,"wait":..}}
 *  eval.json: {"vqa":{"n":..,"answers":..,"models":[{"name":"student","overall":..,"answer_type":{..},"question_type":
 *    {"count":{"n":..,"accuracy":..}}}, ... "question only", "image only", "majority", "teacher"]},
 *    "retrieval":{"n":..,"models":[{"name":"student","image_to_text":{"r1","r5","r10","mean_rank","median_rank"},
 *    "text_to_image":{...}}, {"name":"teacher",...}, {"name":"pixel nearest neighbour","r1":..}]},
 *    "samples":[{"image":"samples/000.png","question":..,"answers":[..],"student":..,"teacher":..,"accuracy":..}]}
 *  Not collective.
 */
#ifndef PUPIL_STUDY_H
#define PUPIL_STUDY_H

#include "pupil/base.h"

/** Write DIR/report.html (self-contained), DIR/tables/{vqa,retrieval,loss,throughput}.csv. Curves are SVG made
 *  by running gnuplot; where it is missing the page says so in their place (and a warning is logged). Missing
 *  inputs leave their section out with a line saying why; a torn last line of metrics is dropped; a null is a missing
 *  number. Pictures are shown if they are PNG files inside DIR. PUPIL_ENOTFOUND if DIR is no run directory; PUPIL_EFORMAT
 *  with file and place for nonsense, and then nothing is written. */
int pupil_report_write(const char *dir);

#endif
