#include "tests/mpc/variants.h"

#include "tests/mpc/build.h"

size_t variants_here(struct kernels ret[VARIANTS_MAX])
{
    static const char *const isas[VARIANTS_MAX] = {"c", "avx2", "avx512", "ifma", "amx"};
    size_t count = 0;

    for (size_t i = 0; i < VARIANTS_MAX; i++) {
        unsigned int features;

        if (kernels_isa_features(isas[i], &features) < 0 || features & ~kernels_cpu_features()) {
            print_message("not on this CPU: %s\n", isas[i]);
            continue;
        }
        ret[count] = kernels_choose(features);
        assert_string_equal(ret[count].isa, isas[i]);
        assert_null(ret[count].refused);
        count++;
    }
    return count;
}
