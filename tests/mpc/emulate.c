/*
 * The products of other CPUs, compiled for this one.
 *
 * AVX-512: with its few instructions in C (emulate_avx512.h).
 *
 * AMX: for AVX2 but for the tile instructions, which are those of the product itself. Each of them
 * is illegal here, and the signal handler carries it out on tiles in memory. On a CPU with AMX none
 * is, and the tiles are its own.
 *
 * Known are the VEX forms of LDTILECFG, TILERELEASE, TILEZERO, TILELOADD, TILELOADDT1, TILESTORED
 * and TDPBUUD, in map 0F38 (Intel SDM volume 2, "AMX"). Anything else ends the test.
 */
#include "tests/mpc/build.h"
#include "tests/mpc/variants.h"

#include <signal.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#define TILES    8
#define ROWS     16
#define ROW_SIZE 64

void kernels_fill_gemm_avx512_emulated(struct kernels *k);
void kernels_fill_gemm_ifma_emulated(struct kernels *k);
void kernels_fill_gemm_amx_emulated(struct kernels *k);

static struct {
    bool configured;
    unsigned int rows[TILES], row_bytes[TILES];
    _Alignas(64) uint8_t tile[TILES][ROWS][ROW_SIZE];
} state;

/* One instruction, as far as it is decoded. */
struct code {
    const uint8_t *at;
    unsigned int prefix, opcode, reg, rm, vvvv, mod;
    bool x, b; /* the extension bits of index and base */
    greg_t *registers;
};

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    (void)!write(STDERR_FILENO, "emulate: ", 9);
    (void)!write(STDERR_FILENO, what, strlen(what));
    (void)!write(STDERR_FILENO, "\n", 1);
    _exit(1);
}

static uint64_t register_value(const struct code *c, unsigned int number)
{
    static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                  REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                  REG_R12, REG_R13, REG_R14, REG_R15};

    return (uint64_t)c->registers[order[number]];
}

static int64_t displacement(struct code *c, unsigned int bytes)
{
    int32_t v = 0;

    memcpy(&v, c->at, bytes);
    c->at += bytes;
    return bytes == 1 ? (int8_t)v : v;
}

/* The base of a memory operand, and its scaled index: a tile's row stride. */
static uint64_t address(struct code *c, uint64_t *ret_index)
{
    unsigned int base = c->rm, bytes = c->mod == 1 ? 1 : c->mod == 2 ? 4 : 0;
    uint64_t at = 0;

    *ret_index = 0;
    if (c->rm == 4) {
        unsigned int sib = *c->at++, index = (sib >> 3 & 7) + 8 * c->x;

        base = sib & 7;
        if (index != 4)
            *ret_index = register_value(c, index) << (sib >> 6);
    }
    if (base == 5 && c->mod == 0) {
        must(c->rm == 4, "an address relative to the instruction");
        bytes = 4;
    } else {
        at = register_value(c, base + 8 * c->b);
    }
    return at + (bytes ? (uint64_t)displacement(c, bytes) : 0);
}

static void load_config(const uint8_t *config)
{
    must(config[0] == 1 && config[1] == 0, "a palette other than 1");
    for (int i = 2; i < 16; i++)
        must(config[i] == 0, "reserved bytes of a tile configuration");
    for (int i = 0; i < TILES; i++) {
        state.row_bytes[i] = config[16 + 2 * i] | (unsigned int)config[17 + 2 * i] << 8;
        state.rows[i] = config[48 + i];
        must(state.rows[i] <= ROWS && state.row_bytes[i] <= ROW_SIZE, "a tile too large");
        must(!state.rows[i] == !state.row_bytes[i], "half a tile");
    }
    memset(state.tile, 0, sizeof(state.tile));
    state.configured = true;
}

static void move_tile(struct code *c, bool load)
{
    uint64_t stride, at = address(c, &stride);

    must(state.configured && state.rows[c->reg], "a tile that is not configured");
    for (unsigned int r = 0; r < state.rows[c->reg]; r++) {
        uint8_t *memory = (uint8_t *)(uintptr_t)(at + r * stride); /* NOLINT */

        if (load)
            memcpy(state.tile[c->reg][r], memory, state.row_bytes[c->reg]);
        else
            memcpy(memory, state.tile[c->reg][r], state.row_bytes[c->reg]);
    }
    for (unsigned int r = state.rows[c->reg]; load && r < ROWS; r++)
        memset(state.tile[c->reg][r], 0, ROW_SIZE);
}

static void dot_row(uint32_t sum[ROWS], const uint8_t *a, const uint8_t (*b)[ROW_SIZE],
                    unsigned int quads)
{
    for (unsigned int k = 0; k < quads; k++)
        for (unsigned int j = 0; j < ROWS; j++)
            for (unsigned int i = 0; i < 4; i++)
                sum[j] += (uint32_t)a[4 * k + i] * b[k][4 * j + i];
}

static void dot(const struct code *c)
{
    unsigned int to = c->reg, a = c->rm, b = c->vvvv;

    must(state.configured && state.rows[to], "a tile that is not configured");
    must(state.rows[to] == state.rows[a] && state.row_bytes[to] == state.row_bytes[b] &&
             state.row_bytes[a] == 4 * state.rows[b] && to != a && to != b && a != b,
         "tiles that do not fit");
    for (unsigned int r = 0; r < state.rows[to]; r++)
        dot_row((uint32_t *)(void *)state.tile[to][r], state.tile[a][r],
                (const uint8_t(*)[ROW_SIZE])state.tile[b], state.rows[b]);
}

enum { PREFIX_NONE, PREFIX_66, PREFIX_F3, PREFIX_F2 };

static void execute_49(struct code *c)
{
    uint64_t none;

    if (c->prefix == PREFIX_NONE && c->mod < 3 && c->reg == 0) {
        load_config((const uint8_t *)(uintptr_t)address(c, &none));
    } else if (c->prefix == PREFIX_NONE && c->mod == 3) {
        must(c->reg == 0 && c->rm == 0, "no TILERELEASE");
        state.configured = false;
    } else {
        must(c->prefix == PREFIX_F2 && c->mod == 3 && c->rm == 0, "no TILEZERO");
        must(state.configured && state.rows[c->reg], "a tile that is not configured");
        memset(state.tile[c->reg], 0, sizeof(state.tile[c->reg]));
    }
}

static void execute(struct code *c)
{
    if (c->opcode == 0x49) {
        execute_49(c);
    } else if (c->opcode == 0x4b) {
        must(c->mod < 3 && c->rm == 4 && c->prefix != PREFIX_NONE, "no move of a tile");
        move_tile(c, c->prefix != PREFIX_F3);
    } else {
        must(c->opcode == 0x5e && c->prefix == PREFIX_NONE && c->mod == 3,
             "an unknown instruction");
        dot(c);
    }
}

static void on_illegal(int number, siginfo_t *info, void *context)
{
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const uint8_t *at = (const uint8_t *)(uintptr_t)registers[REG_RIP];
    struct code c = {.registers = registers, .at = at + 5};

    (void)number, (void)info;
    must(at[0] == 0xc4 && (at[1] & 0x1f) == 2, "an instruction that is no tile's");
    must((at[2] & 0x84) == 0, "W or L of a tile's instruction");
    c.x = !(at[1] & 0x40);
    c.b = !(at[1] & 0x20);
    c.vvvv = ~(unsigned int)at[2] >> 3 & 15;
    c.prefix = at[2] & 3;
    c.opcode = at[3];
    c.mod = at[4] >> 6;
    c.reg = at[4] >> 3 & 7;
    c.rm = at[4] & 7;
    must((at[1] & 0x80) && c.vvvv < TILES, "a tile past the last");
    execute(&c);
    registers[REG_RIP] = (greg_t)(uintptr_t)c.at;
}

static struct kernels native; /* with tile instructions */

/* The test's own runner takes the signal at each of its groups. */
static void emulated_product(uint64_t *c, size_t ldc, const uint64_t *a, size_t lda,
                             const void *right, size_t rows, size_t inner, size_t cols,
                             unsigned int ring, bool add, void *scratch)
{
    struct sigaction action = {.sa_sigaction = on_illegal, .sa_flags = SA_SIGINFO}, before;

    assert_int_equal(sigaction(SIGILL, &action, &before), 0);
    native.product(c, ldc, a, lda, right, rows, inner, cols, ring, add, scratch);
    assert_int_equal(sigaction(SIGILL, &before, NULL), 0);
    assert_false(state.configured);
}

size_t variants_here(struct kernels ret[VARIANTS_MAX])
{
    for (size_t i = 0; i < 3; i++)
        ret[i] = kernels_choose(0);
    kernels_fill_gemm_avx512_emulated(&ret[0]);
    ret[0].isa = "avx512";
    kernels_fill_gemm_ifma_emulated(&ret[1]);
    ret[1].isa = "ifma";
    kernels_fill_gemm_amx_emulated(&native);
    /* Which asks for leave to use tiles: where there are some, they do the work, for LDTILECFG is
     * refused nowhere then. */
    (void)kernels_cpu_features();
    ret[2].right_bytes = native.right_bytes;
    ret[2].pack_right = native.pack_right;
    ret[2].product = emulated_product;
    ret[2].isa = "amx";
    return 3;
}
