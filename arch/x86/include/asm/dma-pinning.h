/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ASM_X86_DMA_PINNING_H
#define _ASM_X86_DMA_PINNING_H

#include <linux/bits.h>
#include <linux/mm_types.h>
#include <linux/page-flags.h>
#include <linux/types.h>
#include <asm/asm.h>
#include <asm/memtype.h>
#include <asm/pgtable_types.h>

/**
 * arch_dma_pinning_touch() - atomic write that leaves the value as it is
 * @addr: any byte of the direct map
 *
 * A locked read-modify-write loses no write by another CPU or by a coherent
 * device, and is a full barrier.
 *
 * Context: any.
 * Return: %false if the page is not mapped, read-only or poisoned.
 */
static __always_inline bool arch_dma_pinning_touch(void *addr)
{
	asm goto("1:	lock orb $0, %0\n"
		 _ASM_EXTABLE_TYPE(1b, %l[fault], EX_TYPE_DEFAULT_MCE_SAFE)
		 : : "m" (*(u8 *)addr) : "memory", "cc" : fault);
	return true;
fault:
	return false;
}

/**
 * arch_dma_pinning_cached() - is a page of memory mapped write-back everywhere?
 * @page: the page
 *
 * A driver that needs another memory type, as graphics drivers do, changes the
 * direct map too, through which the touch goes. Two page flags then hold the
 * type; both are clear for write-back, see arch/x86/mm/pat/memtype.c.
 *
 * Context: any.
 * Return: %true if it is.
 */
static inline bool arch_dma_pinning_cached(struct page *page)
{
	return !(READ_ONCE(page->flags.f) & (BIT(PG_arch_1) | BIT(PG_arch_2)));
}

/**
 * arch_dma_pinning_write_back() - is a kernel mapping really write-back?
 * @addr: address of the mapping
 *
 * A mapping made as write-back may not be: an MTRR may say otherwise, and without
 * PAT the page tables cannot tell.
 *
 * Context: process.
 * Return: %true if it is known to be write-back.
 */
static inline bool arch_dma_pinning_write_back(void *addr)
{
	unsigned int level;
	pgprot_t prot;
	pte_t *pte;

	pte = lookup_address((unsigned long)addr, &level);
	if (!pte || !pat_enabled())
		return false;

	if (level == PG_LEVEL_4K)
		prot = pte_pgprot(*pte);
	else if (level == PG_LEVEL_2M)
		prot = pgprot_large_2_4k(pmd_pgprot(*(pmd_t *)pte));
	else
		prot = pgprot_large_2_4k(pud_pgprot(*(pud_t *)pte));
	return pgprot2cachemode(prot) == _PAGE_CACHE_MODE_WB;
}

#endif /* _ASM_X86_DMA_PINNING_H */
