// SPDX-License-Identifier: GPL-2.0-only
/*
 * VFIO: unpinned DMA mappings without hardware, for KUnit
 *
 * What is real: the address space with its VMA and its mmu notifiers, the pin
 * bitmap in user memory, struct page and its pin counts. What is not: the IOMMU,
 * and which frames the user's page table holds. That is what the test says, so it
 * can change as it does around brackets of the kernel, at no cost. Page Q alone is
 * in the page table, too, where the host finds it when it populates marked pages.
 *
 * mock_check() compares what the core says with what is there:
 *
 *	leaves		of each mapping and domain are what the words say
 *	holders		of a leaf's frame: the user's page table, or a late pin
 *	pins		as many as the folios have, and as the counters say
 *	SPTEs		have a leaf, in each mapping (I1)
 *	mappings	nothing is PRESENT or PINNED outside of them
 *	IOTLB		nothing stale is left, and at each flush the frames behind
 *			what was stale are held
 */
#include <linux/file.h>
#include <linux/hugetlb.h>
#include <linux/mman.h>
#include <linux/mmu_notifier.h>
#include <linux/shmem_fs.h>
#include <linux/vmalloc.h>
#include "vfio_unpinned_mock.h"

#define MOCK_VADDR	SZ_1G
#define MOCK_CHUNKS	32

/* Pages that are charged; by the one thread that a test has */
static long mock_charged;

static const struct mock_layout {
	unsigned int domain;
	unsigned long start;	/* page of the user memory */
	unsigned long pages;
	unsigned long shift;	/* IOVA pages that it is not congruent by */
} mock_layout[MOCK_NR_MAPS] = {
	[MOCK_MAIN] = {
		.domain = 0,
		.pages = 2 * UNP_CHUNK_WORDS,
	},
	[MOCK_ALIAS] = {
		.domain = 1,
		.pages = 2 * UNP_CHUNK_WORDS,
		.shift = 3,
	},
	[MOCK_PARTIAL] = {
		.domain = 0,
		.start = UNP_CHUNK_WORDS + 100,
		.pages = 200,
	},
	[MOCK_LARGE] = {
		.domain = 0,
		.start = MOCK_LARGE_FIRST * UNP_CHUNK_WORDS,
		.pages = MOCK_LARGE_CHUNKS * UNP_CHUNK_WORDS,
	},
};

/* --- the IOMMU ------------------------------------------------------------------ */

static struct mock_domain *to_mock_domain(struct iommu_domain *domain)
{
	return container_of(domain, struct mock_domain, domain);
}

static bool mock_remap_supported(struct iommu_domain *domain)
{
	return true;
}

static int mock_remap_prepare(struct pt_iommu *pt, dma_addr_t iova,
			      dma_addr_t size, gfp_t gfp)
{
	return 0;
}

static void mock_remap_release(struct pt_iommu *pt, dma_addr_t iova,
			       dma_addr_t size)
{
	struct mock_domain *d = to_mock_domain(&pt->domain);
	unsigned long i;

	for (i = 0; i < PHYS_PFN(size); i++)
		KUNIT_EXPECT_EQ(d->mock->test, d->leaf[PHYS_PFN(iova) + i], 0);
}

static void mock_set_leaf(struct mock_domain *d, unsigned long i,
			  unsigned long pfn, struct iommu_iotlb_gather *gather)
{
	unsigned long old = d->leaf[i];

	if (old == pfn)
		return;
	d->leaf[i] = pfn;
	d->nr_leaves += !!pfn - !!old;
	if (!old)
		return;
	d->nr_stale += !d->stale[i];
	d->stale[i] = old;
	iommu_iotlb_gather_add_range(gather, PFN_PHYS(i), PAGE_SIZE);
}

static int mock_remap_range(struct pt_iommu *pt, dma_addr_t iova,
			    phys_addr_t paddr, size_t pgsize, size_t pgcount,
			    unsigned int prot, struct iommu_iotlb_gather *gather)
{
	struct mock_domain *d = to_mock_domain(&pt->domain);
	unsigned long i, first = PHYS_PFN(iova), pfn = PHYS_PFN(paddr);

	d->remaps++;
	d->mock->written += PHYS_PFN(pgsize * pgcount);
	d->mock->written_max = max(d->mock->written_max, d->mock->written);
	if (!(pt->domain.pgsize_bitmap & pgsize))
		return -EINVAL;
	for (i = 0; i < PHYS_PFN(pgsize * pgcount); i++)
		mock_set_leaf(d, first + i, prot ? pfn + i : 0, gather);
	if (prot)
		d->unsynced += PHYS_PFN(pgsize * pgcount);
	return 0;
}

static int mock_iotlb_sync_map(struct iommu_domain *domain, unsigned long iova,
			       size_t size)
{
	to_mock_domain(domain)->unsynced -= PHYS_PFN(size);
	return 0;
}

/* Does the page table hold this frame, or a pin? */
static bool mock_held(struct vfio_unpinned_mock *mock, unsigned long pfn)
{
	struct folio *folio = pfn_folio(pfn);

	return folio == mock->frame[mock->at_huge] ||
	       folio == mock->small[mock->at_small] ||
	       folio == mock->gigantic ||
	       folio_maybe_dma_pinned(folio);
}

static void mock_iotlb_sync(struct iommu_domain *domain,
			    struct iommu_iotlb_gather *gather)
{
	struct mock_domain *d = to_mock_domain(domain);
	unsigned long i, last = PHYS_PFN(gather->end);

	d->syncs++;
	for (i = PHYS_PFN(gather->start); d->nr_stale && i <= last; i++) {
		if (!d->stale[i])
			continue;
		if (!mock_held(d->mock, d->stale[i]))
			mock_fail(d->mock, "the frame of IOVA page %lu was free before the flush",
				  i);
		d->stale[i] = 0;
		d->nr_stale--;
	}
}

static phys_addr_t mock_iova_to_phys(struct iommu_domain *domain,
				     dma_addr_t iova)
{
	return PFN_PHYS(to_mock_domain(domain)->leaf[PHYS_PFN(iova)]);
}

static const struct iommu_domain_ops mock_domain_ops = {
	.remap_supported	= mock_remap_supported,
	.iotlb_sync_map		= mock_iotlb_sync_map,
	.iotlb_sync		= mock_iotlb_sync,
	.iova_to_phys		= mock_iova_to_phys,
};

static const struct pt_iommu_ops mock_pt_ops = {
	.remap_prepare		= mock_remap_prepare,
	.remap_release		= mock_remap_release,
	.remap_range		= mock_remap_range,
};

/**
 * mock_domain_init - Make a domain
 * @mock: the address space that will be mapped in it
 * @d: the domain; zeroed
 * @npages: of IOVA space
 * @sizes: of leaves, a bit for each
 *
 * Return: 0 or -ENOMEM; mock_domain_exit() is due in any case.
 */
int mock_domain_init(struct vfio_unpinned_mock *mock, struct mock_domain *d,
		     unsigned long npages, unsigned long sizes)
{
	d->domain.type = IOMMU_DOMAIN_UNMANAGED;
	d->domain.ops = &mock_domain_ops;
	d->domain.is_iommupt = true;
	d->pt.ops = &mock_pt_ops;
	d->domain.pgsize_bitmap = sizes;
	d->domain.geometry.aperture_end = PFN_PHYS(npages) - 1;
	d->mock = mock;
	d->npages = npages;
	d->leaf = vcalloc(npages, sizeof(*d->leaf));
	d->stale = vcalloc(npages, sizeof(*d->stale));
	return d->leaf && d->stale ? 0 : -ENOMEM;
}

/**
 * mock_domain_exit - Free what mock_domain_init() has allocated
 * @d: the domain
 */
void mock_domain_exit(struct mock_domain *d)
{
	vfree(d->leaf);
	vfree(d->stale);
}

/* --- life ----------------------------------------------------------------------- */

static int mock_make_frames(struct vfio_unpinned_mock *mock)
{
	unsigned int i;

	for (i = 0; i < MOCK_NR_FRAMES; i++) {
		mock->frame[i] = folio_alloc(GFP_KERNEL | __GFP_ZERO,
					     UNP_CHUNK_SHIFT - PAGE_SHIFT);
		if (!mock->frame[i])
			return -ENOMEM;
		__folio_set_swapbacked(mock->frame[i]);
		if (i != MOCK_THP)
			__folio_set_hugetlb(mock->frame[i]);
	}
	mock->small[1] = folio_alloc(GFP_KERNEL | __GFP_ZERO, 0);
	if (!mock->small[1])
		return -ENOMEM;
	__folio_set_swapbacked(mock->small[1]);
	return 0;
}

static void mock_free_frames(struct vfio_unpinned_mock *mock)
{
	unsigned int i;

	for (i = 0; i < MOCK_NR_FRAMES; i++) {
		if (!mock->frame[i])
			continue;
		if (i != MOCK_THP)
			__folio_clear_hugetlb(mock->frame[i]);
		__folio_clear_swapbacked(mock->frame[i]);
		folio_put(mock->frame[i]);
	}
	if (mock->small[1]) {
		__folio_clear_swapbacked(mock->small[1]);
		folio_put(mock->small[1]);
	}
	if (mock->small[0])
		folio_put(mock->small[0]);
}

/* A file of one page: that is what can be populated, at page Q. */
static int mock_make_memory(struct vfio_unpinned_mock *mock)
{
	struct kunit *test = mock->test;
	struct file *file;

	file = shmem_file_setup("vfio-unpinned-mock", PAGE_SIZE,
				mk_vma_flags(VMA_NORESERVE_BIT));
	if (IS_ERR(file))
		return PTR_ERR(file);
	mock->size = MOCK_CHUNKS * UNP_CHUNK_SIZE;
	mock->vaddr = kunit_vm_mmap(test, file, MOCK_VADDR, mock->size,
				    PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_FIXED, 0);
	mock->small[0] = shmem_read_folio(file->f_mapping, 0);
	fput(file);
	if (IS_ERR(mock->small[0])) {
		mock->small[0] = NULL;
		return -ENOMEM;
	}
	mock->bitmap = kunit_vm_mmap(test, NULL, 0, MOCK_BITMAP_SIZE,
				     PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, 0);
	if (mock->vaddr != MOCK_VADDR || !mock->bitmap ||
	    IS_ERR_VALUE(mock->bitmap))
		return -ENOMEM;
	mock->mm = current->mm;
	return 0;
}

/**
 * mock_charge - Charge memory to nobody
 * @mm: the address space
 * @npages: how many pages; negative for the reverse
 *
 * mock_exit() expects that all was given back.
 *
 * Return: 0.
 */
int mock_charge(struct mm_struct *mm, long npages)
{
	mock_charged += npages;
	return 0;
}

static int mock_register_bitmap(struct vfio_unpinned_mock *mock)
{
	const struct vfio_unpinned_bitmap_args arg = {
		.vaddr = mock->bitmap,
		.npages = MOCK_IOVA_PAGES,
		.limit = MOCK_LIMIT,
	};
	int ret = vfio_unpinned_bitmap_register(&mock->registered, &arg,
						mock_charge);

	mock->unp = mock->registered;
	return ret;
}

/**
 * mock_init - Make an address space with a registered bitmap and no mapping
 * @test: the test, whose kernel thread gets it; priv will point at it
 *
 * Return: 0 or -ENOMEM.
 */
int mock_init(struct kunit *test)
{
	struct vfio_unpinned_mock *mock = kunit_kzalloc(test, sizeof(*mock),
							GFP_KERNEL);

	if (!mock)
		return -ENOMEM;
	test->priv = mock;
	mock->test = test;
	if (mock_make_memory(mock) || mock_make_frames(mock) ||
	    mock_domain_init(mock, &mock->domain[0], MOCK_IOVA_PAGES,
			     SZ_4K | SZ_2M | SZ_1G) ||
	    mock_domain_init(mock, &mock->domain[1], MOCK_IOVA_PAGES, SZ_4K))
		return -ENOMEM;
	return mock_register_bitmap(mock);
}

/**
 * mock_exit - Undo all of it, also after a test that was aborted
 * @test: the test
 */
void mock_exit(struct kunit *test)
{
	struct vfio_unpinned_mock *mock = test->priv;
	enum mock_map which;

	if (!mock)
		return;
	for (which = 0; which < MOCK_NR_MAPS; which++)
		mock_unmap(mock, which);
	vfio_unpinned_bitmap_unregister(&mock->registered);
	KUNIT_EXPECT_EQ(test, 0, mock_charged);
	mock_charged = 0;
	mock_domain_exit(&mock->domain[0]);
	mock_domain_exit(&mock->domain[1]);
	mock_free_frames(mock);
}

/* --- what happens to it --------------------------------------------------------- */

/**
 * mock_vaddr - Address of a page
 * @mock: the address space
 * @chunk: which chunk
 * @page: page in it
 *
 * Return: The user address.
 */
unsigned long mock_vaddr(struct vfio_unpinned_mock *mock, unsigned int chunk,
			 unsigned long page)
{
	return mock->vaddr + chunk * UNP_CHUNK_SIZE + page * PAGE_SIZE;
}

/* Where a mapping is in the IOVA space of its domain */
static dma_addr_t mock_iova(enum mock_map which)
{
	const struct mock_layout *l = &mock_layout[which];

	return PFN_PHYS(which * MOCK_SLOT_PAGES + l->start + l->shift);
}

/**
 * mock_map - Map
 * @mock: the address space
 * @which: one that is not mapped
 */
void mock_map(struct vfio_unpinned_mock *mock, enum mock_map which)
{
	const struct mock_layout *l = &mock_layout[which];
	struct vfio_unpinned_map *map;

	map = vfio_unpinned_map_create(mock_iova(which),
				       mock->vaddr + PFN_PHYS(l->start),
				       PFN_PHYS(l->pages), NULL, mock_charge);
	KUNIT_ASSERT_FALSE(mock->test, IS_ERR(map));
	mock->map[which] = map;
	KUNIT_ASSERT_EQ(mock->test, 0,
			vfio_unpinned_add_domain(map,
						 &mock->domain[l->domain].domain));
	KUNIT_ASSERT_EQ(mock->test, 0, vfio_unpinned_map_publish(map));
}

/**
 * mock_unmap - Unmap
 * @mock: the address space
 * @which: a mapping that is there, or not
 */
void mock_unmap(struct vfio_unpinned_mock *mock, enum mock_map which)
{
	if (mock->map[which])
		vfio_unpinned_map_destroy(mock->map[which]);
	mock->map[which] = NULL;
}

/**
 * mock_enable_marks - Let marks count, or not
 * @mock: the address space
 * @enable: let them
 */
void mock_enable_marks(struct vfio_unpinned_mock *mock, bool enable)
{
	vfio_unpinned_enable_marks(mock->registered, enable);
}

/**
 * mock_mark - The guest marks a page, or clears the mark
 * @mock: the address space
 * @vaddr: user address of the page
 * @set: mark it
 *
 * At each IOVA where the page could be mapped.
 */
void mock_mark(struct vfio_unpinned_mock *mock, unsigned long vaddr, bool set)
{
	unsigned long page = PHYS_PFN(vaddr - mock->vaddr);
	void *bits = (void *)mock->unp->bitmap->bits;
	enum mock_map which;

	for (which = 0; which < MOCK_NR_MAPS; which++) {
		const struct mock_layout *l = &mock_layout[which];
		unsigned long bit = PHYS_PFN(mock_iova(which));

		if (page < l->start || page >= l->start + l->pages)
			continue;
		bit += page - l->start;
		if (set)
			__set_bit_le(bit, bits);
		else
			__clear_bit_le(bit, bits);
	}
}

/**
 * mock_gate - KVM is about to install SPTEs
 * @mock: the address space
 * @vaddr: user address of the first page
 * @pages: how many, of what is there now
 */
void mock_gate(struct vfio_unpinned_mock *mock, unsigned long vaddr,
	       unsigned long pages)
{
	mmu_notifier_change_pte(mock->mm, vaddr, mock_pfn(mock, vaddr), pages,
				true);
}

/**
 * mock_bracket - Somebody changes the user's page table
 * @mock: the address space
 * @vaddr: where
 * @size: bytes
 * @may_sleep: false for what the OOM reaper does
 * @change: makes the change, or NULL
 */
void mock_bracket(struct vfio_unpinned_mock *mock, unsigned long vaddr,
		  unsigned long size, bool may_sleep,
		  void (*change)(struct vfio_unpinned_mock *mock))
{
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, mock->mm, vaddr,
				vaddr + size);
	mmap_read_lock(mock->mm);
	if (may_sleep)
		mmu_notifier_invalidate_range_start(&range);
	else
		KUNIT_EXPECT_EQ(mock->test, 0,
				mmu_notifier_invalidate_range_start_nonblock(&range));
	if (change)
		change(mock);
	mmu_notifier_invalidate_range_end(&range);
	mmap_read_unlock(mock->mm);
}

/**
 * mock_settle - Let the worker run now, or not at all
 * @mock: the address space
 * @run: let it run
 *
 * It comes back by itself after some time, which a test doesn't wait for.
 */
void mock_settle(struct vfio_unpinned_mock *mock, bool run)
{
	if (run) {
		mod_delayed_work(system_unbound_wq, &mock->unp->work, 0);
		flush_delayed_work(&mock->unp->work);
	}
	cancel_delayed_work_sync(&mock->unp->work);
}

/* --- what is so ----------------------------------------------------------------- */

/**
 * mock_pfn - What does the user's page table hold?
 * @mock: the address space
 * @vaddr: user address
 *
 * Chunks above the huge page have one page each, their first.
 *
 * Context: Any context.
 * Return: The page frame number.
 */
unsigned long mock_pfn(struct vfio_unpinned_mock *mock, unsigned long vaddr)
{
	unsigned long page = PHYS_PFN(vaddr - mock->vaddr);
	unsigned long chunk = page / UNP_CHUNK_WORDS;

	if (chunk == MOCK_SMALL)
		return folio_pfn(mock->small[mock->at_small]);
	if (chunk == MOCK_HUGE)
		return folio_pfn(mock->frame[mock->at_huge]) +
		       page % UNP_CHUNK_WORDS;
	return folio_pfn(mock->frame[MOCK_THP]) + chunk;
}

/**
 * mock_word - What the core says of a page
 * @mock: the address space
 * @chunk: its chunk
 * @page: page in it
 *
 * Return: The word, 0 if there is none.
 */
unsigned long mock_word(struct vfio_unpinned_mock *mock, unsigned int chunk,
			unsigned long page)
{
	unsigned long *word, value;

	spin_lock(&mock->unp->lock);
	word = vfio_unpinned_word(mock->unp, mock_vaddr(mock, chunk, page), NULL);
	value = word ? *word : 0;
	spin_unlock(&mock->unp->lock);
	return value;
}

/**
 * mock_fail - Tell mock_check() that something is wrong
 * @mock: the address space
 * @fmt: what
 *
 * Return: false.
 */
bool mock_fail(struct vfio_unpinned_mock *mock, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(mock->error, sizeof(mock->error), fmt, args);
	va_end(args);
	return false;
}

static struct folio *mock_folio(struct vfio_unpinned_mock *mock, unsigned int i)
{
	return i < MOCK_NR_FRAMES ? mock->frame[i] :
				    mock->small[i - MOCK_NR_FRAMES];
}

/* Index of a folio for mock_folio(), or MOCK_NR_FOLIOS */
static unsigned int mock_folio_index(struct vfio_unpinned_mock *mock,
				     struct folio *folio)
{
	unsigned int i;

	for (i = 0; i < MOCK_NR_FOLIOS; i++) {
		if (mock_folio(mock, i) == folio)
			break;
	}
	return i;
}

/* What mock_check() has counted */
struct mock_count {
	unsigned long leaves;
	unsigned long pins;
	unsigned long chunk_leaves;
	unsigned long chunk_pins;
	unsigned long folio_pins[MOCK_NR_FOLIOS + 1];
};

static bool mock_covered(struct vfio_unpinned_mock *mock, unsigned long vaddr,
			 unsigned long size)
{
	return unp_map_first(mock->unp, vaddr, vaddr + size - 1);
}

/* One word that is not 0. */
static bool mock_check_word(struct vfio_unpinned_mock *mock,
			    unsigned long vaddr, unsigned long word,
			    struct mock_count *count)
{
	if (!(word & UNP_PRESENT))
		return word == UNP_POPULATE ||
		       mock_fail(mock, "word %lx", word);
	if (word & UNP_POPULATE)
		return mock_fail(mock, "word %lx", word);
	if (!mock_covered(mock, vaddr, unp_size(word)))
		return mock_fail(mock, "%lx, word %lx outside of mappings",
				 vaddr, word);
	count->chunk_leaves++;
	if (word & UNP_PINNED) {
		struct folio *folio = page_folio(unp_page(word));

		count->chunk_pins++;
		count->folio_pins[mock_folio_index(mock, folio)]++;
	} else if (unp_pfn(word) != mock_pfn(mock, vaddr)) {
		return mock_fail(mock, "%lx, word %lx of a frame nobody holds",
				 vaddr, word);
	}
	return true;
}

static bool mock_check_chunk(struct vfio_unpinned_mock *mock,
			     unsigned long vaddr,
			     struct vfio_unpinned_chunk *chunk,
			     struct mock_count *count)
{
	unsigned long i, word = 0;

	count->chunk_leaves = 0;
	count->chunk_pins = 0;
	if (chunk->huge && !(chunk->huge & UNP_HUGE))
		return mock_fail(mock, "word %lx of a chunk", chunk->huge);
	if (chunk->huge &&
	    !mock_check_word(mock, vaddr, chunk->huge, count))
		return false;
	for (i = 0; i < UNP_CHUNK_WORDS; i++) {
		word = chunk->leaf[i];
		if (!word)
			continue;
		if (chunk->huge || (word & UNP_HUGE) ||
		    ((word & UNP_POPULATE) && !chunk->populate))
			return mock_fail(mock, "%lx, word %lx beside %lx",
					 vaddr + i * PAGE_SIZE, word,
					 chunk->huge);
		if (!mock_check_word(mock, vaddr + i * PAGE_SIZE, word, count))
			return false;
	}
	count->leaves += count->chunk_leaves;
	count->pins += count->chunk_pins;
	if (chunk->leaves != count->chunk_leaves ||
	    chunk->pins != count->chunk_pins)
		return mock_fail(mock, "%lx, %u leaves and %u pins, not %lu and %lu",
				 vaddr, chunk->leaves, chunk->pins,
				 count->chunk_leaves, count->chunk_pins);
	return true;
}

/* The references that the folios have, against those of the words */
static bool mock_check_pins(struct vfio_unpinned_mock *mock,
			    struct mock_count *count)
{
	unsigned long held = 0;
	unsigned int i;

	if (count->folio_pins[MOCK_NR_FOLIOS])
		return mock_fail(mock, "unknown frame pinned");
	for (i = 0; i < MOCK_NR_FOLIOS; i++) {
		struct folio *folio = mock_folio(mock, i);
		unsigned long pins = folio_has_pincount(folio) ?
			atomic_read(&folio->_pincount) :
			folio_ref_count(folio) / GUP_PIN_COUNTING_BIAS;

		if (pins != count->folio_pins[i])
			return mock_fail(mock, "frame %u has %lu pins, not %lu",
					 i, pins, count->folio_pins[i]);
		if (pins)
			held += folio_nr_pages(folio);
	}
	if (mock->unp->stats.late_pins != count->pins ||
	    mock->unp->stats.held != held ||
	    mock->unp->stats.leaves != count->leaves)
		return mock_fail(mock, "%llu late pins hold %llu, %llu leaves, not %lu, %lu, %lu",
				 mock->unp->stats.late_pins,
				 mock->unp->stats.held,
				 mock->unp->stats.leaves, count->pins, held,
				 count->leaves);
	return true;
}

/* What leaf a page must have in each mapping, or 0 */
static unsigned long mock_word_pfn(struct vfio_unpinned_mock *mock,
				   unsigned long vaddr)
{
	unsigned long *word = vfio_unpinned_word(mock->unp, vaddr, NULL);

	if (!word || !(*word & UNP_PRESENT))
		return 0;
	if (!(*word & UNP_HUGE))
		return unp_pfn(*word);
	return unp_pfn(*word) + PHYS_PFN(vaddr - unp_chunk_start(vaddr));
}

static bool mock_check_leaves(struct vfio_unpinned_mock *mock)
{
	unsigned long leaves[2] = {}, i;
	enum mock_map which;

	for (which = 0; which < MOCK_NR_MAPS; which++) {
		const struct mock_layout *l = &mock_layout[which];
		struct mock_domain *d = &mock->domain[l->domain];
		unsigned long iova = PHYS_PFN(mock_iova(which));

		for (i = 0; mock->map[which] && i < l->pages; i++) {
			unsigned long vaddr = mock->map[which]->node.start +
					      i * PAGE_SIZE;

			if (d->leaf[iova + i] != mock_word_pfn(mock, vaddr))
				return mock_fail(mock, "%lx, leaf %lx, not %lx, of mapping %d",
						 vaddr, d->leaf[iova + i],
						 mock_word_pfn(mock, vaddr),
						 which);
			leaves[l->domain] += !!d->leaf[iova + i];
		}
	}
	for (i = 0; i < 2; i++) {
		if (mock->domain[i].nr_leaves != leaves[i] ||
		    mock->domain[i].nr_stale)
			return mock_fail(mock, "domain %lu has %lu leaves, not %lu, and %lu stale",
					 i, mock->domain[i].nr_leaves, leaves[i],
					 mock->domain[i].nr_stale);
		if (mock->domain[i].unsynced)
			return mock_fail(mock, "domain %lu is not told of %ld leaves",
					 i, mock->domain[i].unsynced);
	}
	return true;
}

/* I1 */
static bool mock_check_spte(struct vfio_unpinned_mock *mock, bool spte,
			    unsigned int chunk, unsigned long page)
{
	unsigned long vaddr = mock_vaddr(mock, chunk, page), *word;

	if (!spte || !mock_covered(mock, vaddr, PAGE_SIZE))
		return true;
	word = vfio_unpinned_word(mock->unp, vaddr, NULL);
	if (mock_word_pfn(mock, vaddr) != mock_pfn(mock, vaddr) ||
	    !(*word & UNP_GATED))
		return mock_fail(mock, "%lx has an SPTE and word %lx", vaddr,
				 *word);
	return true;
}

static bool mock_check_sptes(struct vfio_unpinned_mock *mock)
{
	return mock_check_spte(mock, mock->spte_p, MOCK_HUGE, MOCK_PAGE_P) &&
	       mock_check_spte(mock, mock->spte_o, MOCK_HUGE, MOCK_PAGE_O) &&
	       mock_check_spte(mock, mock->spte_rest, MOCK_HUGE,
			       MOCK_PAGE_REST) &&
	       mock_check_spte(mock, mock->spte_q, MOCK_SMALL, MOCK_PAGE_Q);
}

/**
 * mock_check - Does all agree?
 * @mock: the address space, between two events
 *
 * Return: false if not, with the first difference in @mock->error.
 */
bool mock_check(struct vfio_unpinned_mock *mock)
{
	struct vfio_unpinned_mm *unp = mock->unp;
	struct vfio_unpinned_chunk *chunk;
	struct mock_count count = {};
	unsigned long index;
	bool ok = !mock->error[0];

	spin_lock(&unp->lock);
	xa_for_each(&unp->chunks, index, chunk)
		ok = ok && mock_check_chunk(mock, index << UNP_CHUNK_SHIFT,
					    chunk, &count);
	ok = ok && mock_check_pins(mock, &count) && mock_check_leaves(mock) &&
	     mock_check_sptes(mock);
	spin_unlock(&unp->lock);
	return ok;
}

static u64 mock_hash(u64 hash, u64 value)
{
	return (hash ^ value) * 0x100000001b3ULL;
}

static u64 mock_hash_word(struct vfio_unpinned_mock *mock, u64 hash, u64 at,
			  unsigned long word)
{
	struct folio *folio;

	hash = mock_hash(mock_hash(hash, at), word & ~PAGE_MASK);
	if (!(word & UNP_PRESENT))
		return hash;
	folio = page_folio(unp_page(word));
	hash = mock_hash(hash, mock_folio_index(mock, folio));
	return mock_hash(hash, folio_page_idx(folio, unp_page(word)));
}

/**
 * mock_state - A number for all that the next events depend on
 * @mock: the address space
 *
 * Return: A hash.
 */
u64 mock_state(struct vfio_unpinned_mock *mock)
{
	struct vfio_unpinned_mm *unp = mock->unp;
	const bool flags[] = {
		mock->spte_p, mock->spte_o, mock->spte_rest, mock->spte_q,
		mock->spte_huge, mock->marks, mock->mark_p, mock->mark_q,
		mock->tight, mock->map[MOCK_MAIN], mock->map[MOCK_ALIAS],
		mock->map[MOCK_PARTIAL],
	};
	struct vfio_unpinned_chunk *chunk;
	u64 hash = 0xcbf29ce484222325ULL;
	unsigned long index, i;

	for (i = 0; i < ARRAY_SIZE(flags); i++)
		hash = mock_hash(hash, flags[i]);
	hash = mock_hash(mock_hash(hash, mock->at_huge), mock->at_small);
	spin_lock(&unp->lock);
	xa_for_each(&unp->chunks, index, chunk) {
		if (chunk->huge)
			hash = mock_hash_word(mock, hash, index, chunk->huge);
		for (i = 0; i < UNP_CHUNK_WORDS; i++) {
			if (chunk->leaf[i])
				hash = mock_hash_word(mock, hash, i,
						      chunk->leaf[i]);
		}
	}
	hash = mock_hash(hash, unp->want_populate);
	spin_unlock(&unp->lock);
	return hash;
}
