#include "firmware-config/setting.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct setting_file files[] = {
    [SETTING_SYSCTL] = {"sysctl", "NAME = VALUE", "/etc/sysctl.d/90-mpcformer.conf",
                        "sysctl --system", "reboot"},
    [SETTING_MODPROBE] = {"modprobe", "options MODULE NAME=VALUE",
                          "/etc/modprobe.d/90-mpcformer.conf", "update-initramfs -u, then reboot",
                          "update-initramfs -u, then reboot"},
    [SETTING_CMDLINE] = {"cmdline", "WORD[=VALUE] of the kernel's command line, through GRUB",
                         "/etc/default/grub.d/90-mpcformer.cfg", "update-grub, then reboot",
                         "update-grub, then reboot"},
    [SETTING_UDEV] = {"udev", "RULE", "/etc/udev/rules.d/90-mpcformer.rules",
                      "udevadm control --reload && udevadm trigger --action=add "
                      "--subsystem-match=cpu --subsystem-match=net --subsystem-match=pci",
                      "reboot"},
    /* The unit's name is its folder's. */
    [SETTING_HUGETLBFS] = {"hugetlbfs", "PAGESIZE: a mount of huge pages at /dev/mpcformer",
                           "/etc/systemd/system/dev-mpcformer.mount",
                           "systemctl daemon-reload && systemctl enable --now dev-mpcformer.mount",
                           "systemctl disable --now dev-mpcformer.mount"},
};

const struct setting_file *setting_file(enum setting_kind kind)
{
    return &files[kind];
}

static int wrong(enum setting_kind kind, const char *text, struct err *err)
{
    return err_set(err, -EINVAL, "\"%.60s\": write %s %s", text, files[kind].name,
                   files[kind].help);
}

/* What each drop-in's own reader would take for something else is not let in. */
static int check(const struct setting *s, struct err *err)
{
    const char *equals = strchr(s->text, '=');

    switch (s->kind) {
    case SETTING_SYSCTL:
        return equals && equals > s->text && strcspn(s->text, ".") < (size_t)(equals - s->text)
                   ? 0
                   : wrong(s->kind, s->text, err);
    case SETTING_MODPROBE:
        return strncmp(s->text, "options ", 8) == 0 && equals ? 0 : wrong(s->kind, s->text, err);
    case SETTING_CMDLINE: /* stands between double quotes of a shell */
        return *s->text && !strpbrk(s->text, " \t\"'`$\\") ? 0 : wrong(s->kind, s->text, err);
    case SETTING_UDEV:
        return strstr(s->text, "==") ? 0 : wrong(s->kind, s->text, err);
    default:
        return strcmp(s->text, "2M") == 0 || strcmp(s->text, "1G") == 0
                   ? 0
                   : err_set(err, -EINVAL, "\"%.40s\" is no size of huge pages: 2M or 1G", s->text);
    }
}

int setting_parse(const char *text, struct setting *ret, struct err *err)
{
    size_t bytes = strcspn(text, " ");
    struct setting s = {SETTING_KINDS, text + bytes + strspn(text + bytes, " ")};
    int rc;

    for (size_t i = 0; i < SETTING_KINDS; i++)
        if (strlen(files[i].name) == bytes && memcmp(files[i].name, text, bytes) == 0)
            s.kind = (enum setting_kind)i;
    if (s.kind == SETTING_KINDS)
        return err_set(err, -EINVAL,
                       "\"%.40s\": a setting is of sysctl, modprobe, cmdline, udev or hugetlbfs",
                       text);
    rc = check(&s, err);
    if (rc == 0)
        *ret = s;
    return rc;
}

bool setting_needs_cpus(const struct setting *s)
{
    return strstr(s->text, SETTING_CPUS) || strstr(s->text, SETTING_OTHERS);
}

static void put_text(FILE *out, const char *text, const char *cpus, const char *others)
{
    while (*text) {
        bool own = strncmp(text, SETTING_CPUS, strlen(SETTING_CPUS)) == 0;
        bool other = strncmp(text, SETTING_OTHERS, strlen(SETTING_OTHERS)) == 0;

        if (own || other) {
            fputs(own ? cpus : others, out);
            text += strlen(own ? SETTING_CPUS : SETTING_OTHERS);
        } else {
            fputc(*text++, out);
        }
    }
}

int setting_line(const struct setting *s, const char *cpus, const char *others, char **ret)
{
    static const char *const before[SETTING_KINDS] = {
        [SETTING_CMDLINE] = "GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX ",
        [SETTING_HUGETLBFS] = "[Unit]\nDescription=Huge pages of MPCFormer\n\n[Mount]\n"
                              "What=hugetlbfs\nWhere=/dev/mpcformer\nType=hugetlbfs\n"
                              "Options=pagesize=",
    };
    static const char *const after[SETTING_KINDS] = {
        [SETTING_CMDLINE] = "\"",
        [SETTING_HUGETLBFS] = "\n\n[Install]\nWantedBy=sysinit.target",
    };
    char *line = NULL;
    size_t bytes;
    FILE *out = open_memstream(&line, &bytes);

    if (!out)
        return -ENOMEM;
    fputs(before[s->kind] ? before[s->kind] : "", out);
    put_text(out, s->text, cpus, others);
    fputs(after[s->kind] ? after[s->kind] : "", out);
    if (fclose(out) != 0) {
        free(line);
        return -ENOMEM;
    }
    *ret = line;
    return 0;
}
