/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * DMA pinning: a guest tells its host which pages devices may access.
 *
 * The contract between guest and VMM in names and numbers; its full text is
 * docs/specs/dma-pinning.rst in QEMU. An ACPI device with the compatible ID
 * below has two memory resources, in this order:
 *
 *  - the registers. The guest maps them uncached and accesses each one by a
 *    single aligned access of its own width. Everything else reads as 0 or is
 *    ignored, and so is a write to a register other than REQUEST;
 *  - the bitmap of marks. The guest maps it write-back. Bit n % 8 of byte n / 8
 *    is the mark of the page at the guest-physical address n * granule. While
 *    it is set, devices may access the page.
 *
 * Everything is little-endian. Later versions only add registers and raise
 * SIZE. A guest must not use a device whose MAGIC or GRANULE it does not know,
 * whose VERSION is 0, or whose SIZE does not cover the registers that it needs.
 */
#ifndef _LINUX_DMA_PINNING_H
#define _LINUX_DMA_PINNING_H

#define DMA_PINNING_ACPI_CID		"DMAPIN"

#define DMA_PINNING_MAGIC		0x4e495044	/* "DPIN" */
#define DMA_PINNING_VERSION		1
#define DMA_PINNING_GRANULE		4096

/* Registers, with their width in bits */
#define DMA_PINNING_REG_MAGIC		0x00	/* 32 */
#define DMA_PINNING_REG_VERSION		0x04	/* 32 */
#define DMA_PINNING_REG_SIZE		0x08	/* 32: bytes of all registers */
#define DMA_PINNING_REG_GRANULE		0x0c	/* 32: bytes of memory per mark */
#define DMA_PINNING_REG_OFFERED		0x10	/* 64: features */
#define DMA_PINNING_REG_ACCEPTED	0x18	/* 64: features, 0 in OFF */
#define DMA_PINNING_REG_NPAGES		0x20	/* 64: marks in the bitmap */
#define DMA_PINNING_REG_STATE		0x28	/* 32 */
#define DMA_PINNING_REG_ERROR		0x2c	/* 32: code of the last result */
#define DMA_PINNING_REG_GENERATION	0x30	/* 64: counts changes of STATE */
#define DMA_PINNING_REG_LIMIT		0x38	/* 64: marks that may be set */
#define DMA_PINNING_REG_REQUEST		0x40	/* 64: write-only */
#define DMA_PINNING_REG_RESULT		0x48	/* 64: of the last request */

/* SIZE of version 1 */
#define DMA_PINNING_REGS_SIZE		0x50

/* OFFERED and ACCEPTED. A guest must accept MARKS. */
#define DMA_PINNING_FEATURE_MARKS	(1ULL << 0)
#define DMA_PINNING_FEATURE_QUERY	(1ULL << 1)	/* the request QUERY */

/*
 * STATE: the host relies on the marks, and assigned devices can do DMA, in READY
 * only. OFF clears the bitmap, FROZEN keeps it for the next kernel.
 */
#define DMA_PINNING_STATE_OFF		0
#define DMA_PINNING_STATE_READY		1
#define DMA_PINNING_STATE_FROZEN	2

/*
 * One write to REQUEST carries an opcode and its argument; code and value must
 * be 0. RESULT repeats both, with a code and a value, as soon as the write has
 * completed.
 */
#define DMA_PINNING_SHIFT_OPCODE	0
#define DMA_PINNING_SHIFT_CODE		8
#define DMA_PINNING_SHIFT_ARGUMENT	16
#define DMA_PINNING_SHIFT_VALUE		48
#define DMA_PINNING_MASK_OPCODE		(0xffULL << DMA_PINNING_SHIFT_OPCODE)
#define DMA_PINNING_MASK_CODE		(0xffULL << DMA_PINNING_SHIFT_CODE)
#define DMA_PINNING_MASK_ARGUMENT	(0xffffffffULL << DMA_PINNING_SHIFT_ARGUMENT)
#define DMA_PINNING_MASK_VALUE		(0xffffULL << DMA_PINNING_SHIFT_VALUE)

/* Opcodes. The first three change STATE. */
#define DMA_PINNING_OP_READY		1	/* argument: features to accept */
#define DMA_PINNING_OP_OFF		2
#define DMA_PINNING_OP_FROZEN		3
#define DMA_PINNING_OP_QUERY		4	/* argument: a PCI function */

/* Argument of QUERY, with devfn in its lowest bits, and its value */
#define DMA_PINNING_SHIFT_SEGMENT	16
#define DMA_PINNING_SHIFT_BUS		8
#define DMA_PINNING_QUERY_EXEMPT	1	/* emulated: needs no marks */

/* Codes. A request that fails leaves STATE as it was. */
#define DMA_PINNING_CODE_OK		0
#define DMA_PINNING_CODE_OPCODE		1	/* unknown */
#define DMA_PINNING_CODE_ARGUMENT	2	/* invalid */
#define DMA_PINNING_CODE_STATE		3	/* not possible in this STATE */
#define DMA_PINNING_CODE_BUSY		4	/* too early; value: milliseconds */
#define DMA_PINNING_CODE_HOST		5	/* the host can't use the marks */

#endif /* _LINUX_DMA_PINNING_H */
