// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>

#include <linux/types.h>

#include <libvfio/assert.h>
#include <libvfio/iommu_leaves.h>

static FILE *open_page_table(const char *bdf)
{
	char path[128];

	snprintf(path, sizeof(path),
		 "/sys/kernel/debug/iommu/intel/%s/domain_translation_struct",
		 bdf);
	return fopen(path, "r");
}

bool iommu_shows_leaves(const char *bdf)
{
	FILE *file = open_page_table(bdf);

	if (file)
		fclose(file);
	return file;
}

/* A line has the page number and the entries from level 5 down to the leaf. */
void iommu_count_leaves(const char *bdf, iova_t iova, u64 size,
			struct iommu_leaves *leaves)
{
	FILE *file = open_page_table(bdf);
	u64 pfn, pde, pte;
	char line[256];

	VFIO_ASSERT_NOT_NULL(file, "the page tables of %s are not shown", bdf);
	*leaves = (struct iommu_leaves){};
	while (fgets(line, sizeof(line), file)) {
		int n = sscanf(line, "%lx | %*x %*x %*x %lx %lx", &pfn, &pde, &pte);

		if (n < 1 || pfn * 4096 < iova || pfn * 4096 >= iova + size)
			continue;
		leaves->gigantic += n == 1;
		leaves->huge += n == 2;
		leaves->small += n == 3;
	}
	fclose(file);
}
