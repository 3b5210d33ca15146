/*
 * What the emulated machine finds where a BIOS would be: the last 64 KiB below 1 MiB and, by alias,
 * below 4 GiB. Enters protected mode and then Linux, by its PVH entry, with the arguments below:
 * no BIOS, boot loader or disk. Bochs has read IMAGE into RAM: Linux, unpacked, and the initramfs.
 */
    .set block, 0x20000 /* in which Bochs hands out RAM, or a fraction of that */

    .code16
    .globl start
start:
    cli
    lgdtl %cs:(gdt_pointer - start)
    movl $1, %eax
    movl %eax, %cr0
    ljmpl $8, $protected

    .code32
protected:
    movw $16, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    /* Bochs reads an image as if its RAM were contiguous, but places each block of RAM where the
       last one ended at the first access: in this order here, before any other. */
    movl $IMAGE, %esi
1:  movb (%esi), %al
    addl $block, %esi
    cmpl $IMAGE_END, %esi
    jb 1b
    movl $start_info, %ebx
    movl $ENTRY, %eax
    jmp *%eax

    .balign 8
gdt: /* none, flat code, flat data */
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long gdt

    .balign 8
start_info: /* struct hvm_start_info, version 1 */
    .long 0x336ec578, 1, 0, 1 /* magic, version, flags, modules */
    .long modules, 0, command_line, 0, 0, 0, memory, 0
    .long 2, 0 /* ranges of memory */
modules:
    .long INITRAMFS, 0, INITRAMFS_BYTES, 0, 0, 0, 0, 0
memory: /* from, bytes, type (RAM) */
    .long 0, 0, 0xa0000, 0, 1, 0
    .long 0x100000, 0, RAM_BYTES - 0x100000, 0, 1, 0
command_line:
    .asciz COMMAND_LINE

    .org 0xfff0 /* where the CPU starts */
    .code16
    ljmp $0xf000, $0
    .org 0x10000
