/* coco.c: COCO's captions JSON ("images" and "annotations", joined by image id, in either order), and
 * Karpathy's
 * ("images" with their sentences and split). A file that is not as either says is refused; a picture without
 * captions and a caption without a picture are broken samples. */
#include "files.h"
#include "json_file.h"
#include "table.h"

#include <string.h>

typedef struct {
    const char *path;
    const pupil_strings *splits;
    files_builder *b;
    textset id; /* of COCO's images */
    struct {
        int64_t name, line, captions;
    } * image; /* by number of id */
    int64_t cap;
    pupil_buf names;
    bool images, karpathy, early; /* early: annotations came before the images */
    bool second;                  /* the second pass, for them */
} reader;

static int add_coco_image(reader *r, const json_item *item)
{
    const char *id, *name;
    char digits[24];
    PUPIL_TRY(json_file_id(item->value, "id", digits, &id));
    PUPIL_TRY(json_file_text(item->value, "file_name", &name));
    int64_t known = r->id.n, k = textset_add(&r->id, id, strlen(id));
    if (k < known) {
        files_refuse(r->b, FAULT_TWICE, r->path, item->line, name);
        return 0;
    }
    PUPIL_GROW(r->image, k, r->cap);
    r->image[k].name = (int64_t)r->names.len;
    r->image[k].line = item->line;
    r->image[k].captions = 0;
    pupil_buf_add(&r->names, name, strlen(name) + 1);
    return 0;
}

static int add_coco_caption(reader *r, const json_item *item)
{
    const char *id;
    char digits[24];
    PUPIL_TRY(json_file_id(item->value, "image_id", digits, &id));
    const json_t *caption = json_object_get(item->value, "caption");
    if (!json_is_string(caption))
        return pupil_fail(PUPIL_EFORMAT, "\"caption\" was expected and to be text: these are no captions");
    int64_t k = textset_find(&r->id, id, strlen(id));
    if (k < 0) {
        files_refuse(r->b, FAULT_NO_PICTURE, r->path, item->line, id);
        return 0;
    }
    r->image[k].captions++;
    files_add(r->b, r->names.s + r->image[k].name, json_string_value(caption), json_string_length(caption),
              -1, r->path, item->line);
    return 0;
}

static bool wanted(const pupil_strings *splits, const char *split)
{
    for (int i = 0; split && splits && i < splits->n; i++)
        if (!strcmp(splits->item[i], split)) return true;
    return !split || !splits;
}

static int add_karpathy_image(reader *r, const json_item *item)
{
    const json_t *sentence, *sentences = json_object_get(item->value, "sentences");
    const char *name, *folder = json_string_value(json_object_get(item->value, "filepath")),
                      *split = json_string_value(json_object_get(item->value, "split"));
    size_t i;
    r->karpathy |= split != NULL;
    if (!wanted(r->splits, split)) return 0;
    PUPIL_TRY(json_file_text(item->value, "filename", &name));
    char *path = pupil_format("%s%s%s", folder ? folder : "", folder ? "/" : "", name);
    int code = 0;
    json_array_foreach(sentences, i, sentence)
    {
        const json_t *raw = json_object_get(sentence, "raw");
        if (!json_is_string(raw)) {
            code = pupil_fail(PUPIL_EFORMAT, "sentences[%zu]: \"raw\" was expected and to be text", i);
            break;
        }
        files_add(r->b, path, json_string_value(raw), json_string_length(raw), -1, r->path, item->line);
    }
    if (json_array_size(sentences) == 0) files_refuse(r->b, FAULT_NO_CAPTION, r->path, item->line, path);
    pupil_free(&path);
    return code;
}

static int take(void *state, const json_item *item)
{
    reader *r = state;
    const char *list = item->list ? item->list : "";
    if (!strcmp(list, "images") && !r->second) {
        r->images = true;
        if (!json_is_object(item->value)) return pupil_fail(PUPIL_EFORMAT, "an object was expected");
        return json_object_get(item->value, "sentences") ? add_karpathy_image(r, item)
                                                         : add_coco_image(r, item);
    }
    if (strcmp(list, "annotations")) return 0;
    if (r->images) return add_coco_caption(r, item);
    r->early = true;
    return 0;
}

static int read_all(reader *r)
{
    PUPIL_TRY(json_file_each(r->path, false, take, r));
    if (!r->images) return pupil_fail(PUPIL_EFORMAT, "%s: there is no list \"images\" in it", r->path);
    r->second = true;
    if (r->early) PUPIL_TRY(json_file_each(r->path, false, take, r));
    for (int64_t k = 0; k < r->id.n; k++)
        if (!r->image[k].captions)
            files_refuse(r->b, FAULT_NO_CAPTION, r->path, r->image[k].line, r->names.s + r->image[k].name);
    return 0;
}

int coco_read(const char *path, const pupil_strings *splits, files_builder *b, bool *ret_splits)
{
    reader r = {.path = path, .splits = splits, .b = b};
    int code = read_all(&r);
    textset_free(&r.id);
    pupil_free(&r.image);
    pupil_buf_free(&r.names);
    if (code >= 0) *ret_splits = r.karpathy;
    return code;
}
