/* image_jpeg.c: JPEG to RGB through libjpeg as Pillow does it: islow DCT and fancy upsampling (the library's
 * own defaults), warnings about damaged entropy data passed over, a file that ends before its end marker
 * refused. Four components are taken as inverted CMYK (Adobe's habit) whether or not an Adobe marker is
 * there. */
#include "image.h"

#include <setjmp.h>
#include <string.h>
#include <jpeglib.h>

/* A Huffman-coded 8x8 block takes at least one bit and a sampling factor is at most 4, so that two components
 * sampled 4x1 and 1x4 hold 32 x 32 pixels in 8 blocks: one byte. Arithmetic coding has no such bound. */
#define PIXELS_A_BYTE 1024
/* Scans that a progressive file may have: each costs a walk over the whole picture, and encoders write about
 * ten. */
#define SCANS_MAX 500

typedef struct {
    struct jpeg_decompress_struct c;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf out;
    char why[JMSG_LENGTH_MAX];
    pupil_image im;
    uint8_t *cmyk; /* one row */
} decoder;

static _Noreturn void give_up(j_common_ptr c)
{
    decoder *d = c->client_data;
    c->err->format_message(c, d->why);
    longjmp(d->out, 1);
}

static _Noreturn void refuse(decoder *d, const char *why)
{
    snprintf(d->why, sizeof d->why, "%s", why);
    longjmp(d->out, 1);
}

static void pass_over(j_common_ptr c, int level)
{
    (void)c, (void)level;
}

static boolean ended(j_decompress_ptr c)
{
    refuse(c->client_data, "the file ends before its picture does");
}

static void count_scans(j_common_ptr c)
{
    decoder *d = c->client_data;
    if (d->c.input_scan_number > SCANS_MAX) refuse(d, "more scans than any encoder writes");
}

/* One row of inverted CMYK to RGB, in Pillow's rounding: paper left by black, less the share of each ink. */
static void from_cmyk(const uint8_t *in, int w, uint8_t *out)
{
    for (int x = 0; x < w; x++, in += 4, out += 3) {
        int left = in[3]; /* 255 - K */
        for (int k = 0; k < 3; k++) {
            int t = (255 - in[k]) * left + 128;
            out[k] = (uint8_t)(left - (((t >> 8) + t) >> 8));
        }
    }
}

static void read_rows(decoder *d)
{
    struct jpeg_decompress_struct *c = &d->c;
    bool four = c->num_components == 4;
    if (four) d->cmyk = pupil_alloc((size_t)c->output_width * 4);
    while (c->output_scanline < c->output_height) {
        uint8_t *rgb = d->im.rgb + (size_t)c->output_scanline * c->output_width * 3,
                *row = four ? d->cmyk : rgb;
        if (jpeg_read_scanlines(c, &row, 1) == 1 && four) from_cmyk(d->cmyk, (int)c->output_width, rgb);
    }
}

static int decode(decoder *d, const uint8_t *bytes, size_t n)
{
    struct jpeg_decompress_struct *c = &d->c;
    jpeg_mem_src(c, bytes, n);
    c->src->fill_input_buffer = ended;
    jpeg_read_header(c, TRUE);
    if (c->num_components == 2) refuse(d, "two colour components");
    int64_t densest = c->arith_code ? INT64_MAX : PIXELS_A_BYTE;
    PUPIL_TRY(image_room(c->image_width, c->image_height, n, densest, &d->im));
    c->out_color_space = c->num_components == 4 ? JCS_CMYK : JCS_RGB;
    c->progress = &d->progress;
    jpeg_start_decompress(c);
    read_rows(d);
    jpeg_finish_decompress(c);
    return 0;
}

bool image_is_jpeg(const uint8_t *bytes, size_t n)
{
    return n >= 3 && memcmp(bytes, "\xff\xd8\xff", 3) == 0;
}

int image_decode_jpeg(const uint8_t *bytes, size_t n, pupil_image *ret)
{
    decoder *const d = pupil_alloc(sizeof *d);
    d->c.err = jpeg_std_error(&d->errors);
    d->errors.error_exit = give_up;
    d->errors.emit_message = pass_over;
    d->progress.progress_monitor = count_scans;
    d->c.client_data = d;
    int r;
    if (setjmp(d->out) == 0) {
        jpeg_create_decompress(&d->c);
        r = decode(d, bytes, n);
    } else {
        r = pupil_fail(PUPIL_EFORMAT, "JPEG: %s", d->why);
    }
    jpeg_destroy_decompress(&d->c);
    pupil_free(&d->cmyk);
    if (r == 0) *ret = d->im;
    else pupil_image_free(&d->im);
    decoder *done = d;
    pupil_free(&done);
    return r;
}
