/* image_png.c: PNG to RGB through libpng as Pillow's convert("RGB") does it, and RGB to PNG.
 * 16-bit grey without alpha is clipped to 255, every other 16-bit sample keeps its high byte; a palette index
 * beyond PLTE is the grey of that index. A file that ends after its last pixel is whole; one that ends before
 * is refused. */
#include "image.h"

#include <setjmp.h>
#include <string.h>
#include <png.h>

/* Deflate cannot do better than 1032 bytes out of one, and a pixel may be one bit. */
#define PIXELS_A_BYTE (1032 * 8)

typedef enum { GREY, GREY16, INDEX, RGB } row_kind;

typedef struct {
    png_structp png;
    png_infop info;
    const uint8_t *bytes;
    size_t n, at;
    bool ended, whole; /* ended: asked for more than the file has; whole: all rows are decoded */
    pupil_image im;
    uint8_t *rows;
    uint8_t palette[256][3];
    char why[128];
} decoder;

static _Noreturn void give_up(png_structp png, png_const_charp why)
{
    decoder *d = png_get_error_ptr(png);
    snprintf(d->why, sizeof d->why, "%s", why);
    png_longjmp(png, 1);
}

static void pass_over(png_structp png, png_const_charp why)
{
    (void)png, (void)why;
}

static void take(png_structp png, png_bytep to, size_t n)
{
    decoder *d = png_get_io_ptr(png);
    if (n > d->n - d->at) {
        d->ended = true;
        png_error(png, "the file ends before its picture does");
    }
    memcpy(to, d->bytes + d->at, n);
    d->at += n;
}

static void read_palette(decoder *d)
{
    png_colorp colors = NULL;
    int n = 0;
    for (int i = 0; i < 256; i++) memset(d->palette[i], i, 3);
    png_get_PLTE(d->png, d->info, &colors, &n);
    for (int i = 0; i < n; i++)
        memcpy(d->palette[i], (uint8_t[]){colors[i].red, colors[i].green, colors[i].blue}, 3);
}

static row_kind arrange(decoder *d)
{
    png_structp png = d->png;
    int depth = png_get_bit_depth(png, d->info), type = png_get_color_type(png, d->info);
    if (type == PNG_COLOR_TYPE_GRAY && depth == 16) return GREY16;
    if (type == PNG_COLOR_TYPE_PALETTE) {
        png_set_packing(png);
        read_palette(d);
        return INDEX;
    }
    if (depth == 16) png_set_strip_16(png);
    if (type == PNG_COLOR_TYPE_GRAY) png_set_expand_gray_1_2_4_to_8(png);
    png_set_strip_alpha(png);
    return type & PNG_COLOR_MASK_COLOR ? RGB : GREY;
}

static void to_rgb(const decoder *d, row_kind kind, const uint8_t *in, uint8_t *out)
{
    int w = d->im.w;
    switch (kind) {
    case RGB:
        memcpy(out, in, (size_t)w * 3);
        break;
    case INDEX:
        for (int x = 0; x < w; x++) memcpy(out + 3 * x, d->palette[in[x]], 3);
        break;
    case GREY:
        for (int x = 0; x < w; x++) memset(out + 3 * x, in[x], 3);
        break;
    case GREY16:
        for (int x = 0; x < w; x++) memset(out + 3 * x, in[2 * x] ? 255 : in[2 * x + 1], 3);
        break;
    }
}

/* Everything that may leave through png_longjmp(); 0 or a code of its own. */
static int decode(decoder *d)
{
    png_structp png = d->png;
    png_set_read_fn(png, d, take);
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, NULL, 0);
    png_read_info(png, d->info);
    PUPIL_TRY(image_room(png_get_image_width(png, d->info), png_get_image_height(png, d->info), d->n,
                         PIXELS_A_BYTE, &d->im));
    row_kind kind = arrange(d);
    int passes = png_set_interlace_handling(png);
    png_read_update_info(png, d->info);
    size_t row = png_get_rowbytes(png, d->info);
    d->rows = pupil_alloc(passes > 1 ? row * (size_t)d->im.h : row);
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < d->im.h; y++) {
            uint8_t *in = d->rows + (passes > 1 ? row * (size_t)y : 0);
            png_read_row(png, in, NULL);
            if (pass == passes - 1) to_rgb(d, kind, in, d->im.rgb + (size_t)y * (size_t)d->im.w * 3);
        }
    d->whole = true;
    png_read_end(png, NULL);
    return 0;
}

bool image_is_png(const uint8_t *bytes, size_t n)
{
    return n >= 8 && png_sig_cmp(bytes, 0, 8) == 0;
}

int image_decode_png(const uint8_t *bytes, size_t n, pupil_image *ret)
{
    decoder *const d = pupil_alloc(sizeof *d);
    d->bytes = bytes;
    d->n = n;
    d->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, d, give_up, pass_over);
    PUPIL_REQUIRE(d->png);
    d->info = png_create_info_struct(d->png);
    PUPIL_REQUIRE(d->info);
    int r;
    if (setjmp(png_jmpbuf(d->png)) == 0) r = decode(d);
    else r = d->whole && d->ended ? 0 : pupil_fail(PUPIL_EFORMAT, "PNG: %s", d->why);
    png_destroy_read_struct(&d->png, &d->info, NULL);
    pupil_free(&d->rows);
    if (r == 0) *ret = d->im;
    else pupil_image_free(&d->im);
    decoder *done = d;
    pupil_free(&done);
    return r;
}

static void put(png_structp png, png_bytep bytes, size_t n)
{
    pupil_buf_add(png_get_io_ptr(png), bytes, n);
}

static void flush(png_structp png)
{
    (void)png;
}

static _Noreturn void stop(png_structp png, png_const_charp why)
{
    snprintf(png_get_error_ptr(png), 128, "%s", why);
    png_longjmp(png, 1);
}

int pupil_image_encode_png(const pupil_image *im, pupil_buf *out)
{
    char why[128];
    const size_t before = out->len;
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, why, stop, pass_over);
    PUPIL_REQUIRE(png);
    png_infop info = png_create_info_struct(png);
    PUPIL_REQUIRE(info);
    int r = 0;
    if (setjmp(png_jmpbuf(png)) == 0) {
        png_set_write_fn(png, out, put, flush);
        png_set_IHDR(png, info, (png_uint_32)im->w, (png_uint_32)im->h, 8, PNG_COLOR_TYPE_RGB,
                     PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
        png_write_info(png, info);
        for (int y = 0; y < im->h; y++) png_write_row(png, im->rgb + (size_t)y * (size_t)im->w * 3);
        png_write_end(png, NULL);
    } else {
        out->len = before;
        r = pupil_fail(PUPIL_EFORMAT, "PNG: %s", why);
    }
    png_destroy_write_struct(&png, &info);
    return r;
}
