/* Classify the texts that are given, in private: an example of libmpcformer.
 *
 *     cc ask.c $(pkg-config --cflags --libs mpcformer) -o ask
 *     ./ask owner.conf "a film that I will not forget"
 */
#include <mpcformer.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    struct mpcformer *m;
    char error[MPCFORMER_ERROR_SIZE];
    int rc;

    if (argc < 3) {
        fprintf(stderr, "usage: %s CONFIGURATION TEXT...\n", argv[0]);
        return 2;
    }
    if (mpcformer_open(argv[1], &m, error) < 0) {
        fprintf(stderr, "%s: %s\n", argv[1], error);
        return 3;
    }
    rc = 0;
    for (int i = 2; i < argc && rc == 0; i++) {
        const struct mpcformer_text text = {.text = argv[i]};
        struct mpcformer_answer answer;

        rc = mpcformer_ask(m, &text, 1, &answer, error);
        if (rc < 0)
            fprintf(stderr, "%s\n", error);
        else if (answer.outside)
            printf("no answer: a value left its range in %s\n", answer.outside);
        else if (answer.label && !answer.logits)
            printf("%s\n", answer.label);
        else if (answer.label)
            printf("%s (%.4f)\n", answer.label, answer.probability);
        else
            printf("%.4f\n", answer.logits[0]);
    }
    mpcformer_close(m);
    return rc < 0 ? 3 : 0;
}
