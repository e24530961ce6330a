/* The statistics of a study against numbers that SciPy 1.10 and NumPy computed of the same data, and what they do where they
 * are not defined. */
#include "study.h"

#include "../proof.h"

enum { N = 12 };
static const double x[N] = {1.5, 2, 2, 3.25, 4, 4, 4, 5.5, 6, 7.125, 0.5, 3.25}, y[N] = {2, 1, 2.5, 2.5, 3, 3, 5, 4, 4, 6.5, -1, 0.25};

static void near(double a, double b, double room) { CHECK(fabs(a - b) <= room, "%.15g is not %.15g", a, b); }

static void correlations(void **state)
{
    (void)state;
    static const double rank[N] = {4, 3, 5.5, 5.5, 7.5, 7.5, 11, 9.5, 9.5, 12, 1, 2};
    double mine[N];
    near(stats_spearman(x, y, N), 0.8845596274291161, 1e-9); /* scipy.stats.spearmanr */
    near(stats_kendall(x, y, N), 0.758163138976796, 1e-9);   /* kendalltau: tau-b */
    near(stats_pearson(x, y, N), 0.8425053131300333, 1e-9);
    near(stats_sd(y, N), 2.054535817220626, 1e-9);
    stats_ranks(y, N, mine);
    for (int i = 0; i < N; i++) near(mine[i], rank[i], 0);
}

static void undefined(void **state)
{
    (void)state;
    static const double same[3] = {2, 2, 2}, up[3] = {1, 2, 3}, down[3] = {3, 2, 1};
    CHECK(isnan(stats_spearman(same, up, 3)) && isnan(stats_kendall(up, same, 3)) && isnan(stats_pearson(up, up, 1)) && isnan(stats_mean(up, 0)),
          "a constant has no correlation");
    near(stats_spearman(up, down, 3), -1, 1e-15);
    near(stats_kendall(up, down, 3), -1, 1e-15);
    estimate e = stats_bootstrap(stats_spearman, up, up, 2, 1);
    CHECK(isnan(e.low) && isnan(e.high), "two pairs have no interval");
}

/* scipy.stats.bootstrap, paired, percentile, 3000 resamples: 0.599 (0.586 to 0.615 over five seeds) to 0.993. */
static void bootstrap(void **state)
{
    (void)state;
    estimate e = stats_bootstrap(stats_spearman, x, y, N, 1), again = stats_bootstrap(stats_spearman, x, y, N, 1);
    near(e.value, 0.8845596274291161, 1e-9);
    near(e.low, 0.599, 0.03);
    near(e.high, 0.993, 0.01);
    CHECK(e.low == again.low && e.high == again.high, "the same seed gives the same interval");
}

static void least_squares(void **state)
{
    (void)state;
    enum { ROWS = 14 };
    static const double a[3][ROWS] = {
        {2.087286, -0.521714, -1.973714, 3.369286, -0.234714, -0.344714, 1.004286, 1.592286, -0.136714, -0.223714, -0.839714, 0.626286, -2.781714, -1.622714},
        {-2.451571, -0.348571, -0.127571, 0.330429, -0.563571, 0.586429, -0.095571, 0.649429, 0.645429, -0.139571, -0.187571, 0.196429, 1.125429, 0.380429},
        {0.315143, -0.318857, -0.967857, -0.455857, -1.157857, -0.341857, -0.078857, -0.607857, 1.832143, 0.899143, 0.780143, 0.567143, -1.062857, 0.598143}};
    static const double b[ROWS] = {7.9595, -0.5085, -2.9595, 4.2425, 0.8865, -1.5715, 1.7155, 1.2505, -1.1195, -0.1295, -0.5345, 0.8425, -6.7735, -3.3005};
    static const double beta[3] = {1.5391488385289238, -1.9390478903203672, 0.1532713353227083},
                        se[3] = {0.040989315229322816, 0.0795683664702303, 0.07311732682251111};
    double sum[ROWS];
    ols fit;
    for (int i = 0; i < ROWS; i++) sum[i] = 2 * a[0][i] - a[1][i];
    const double *with_copy[4] = {a[0], a[1], sum, a[2]}; /* the third column is made of the first two */
    stats_ols((const double *const[]){a[0], a[1], a[2]}, 3, b, ROWS, 1, &fit);
    for (int j = 0; j < 3; j++) near(fit.beta[j], beta[j], 1e-9), near(fit.se[j], se[j], 1e-9); /* numpy.linalg.lstsq */
    near(fit.r2, 0.9967128285369228, 1e-9);
    stats_ols(with_copy, 4, b, ROWS, 1, &fit);
    CHECK(fit.used == 3 && isnan(fit.beta[2]), "a combination of other columns is left out");
    for (int j = 0; j < 3; j++) near(fit.beta[j + (j == 2)], beta[j], 1e-9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(correlations), cmocka_unit_test(undefined), cmocka_unit_test(bootstrap), cmocka_unit_test(least_squares)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
