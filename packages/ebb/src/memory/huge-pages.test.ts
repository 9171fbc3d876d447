import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { Child } from '../../../../test/support/child.js'

const FOLDER = '/sys/kernel/mm/transparent_hugepage'
const report = process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } }

/** Whether this machine lets programs ask for huge pages, and fills ranges with them that are partly in use. */
const hasHugePages =
  report.header.glibcVersionRuntime !== undefined &&
  process.env.LD_PRELOAD === undefined &&
  read(`${FOLDER}/enabled`).includes('[madvise]') &&
  Number(read(`${FOLDER}/khugepaged/max_ptes_none`)) > 0

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

/**
 * Prints whether the kernel may make huge pages of the main heap (`nh`: it may not), after two releases. The heap may
 * have grown since then: by a part of its own, the last one.
 */
const PROGRAM = `
  import { readFileSync } from 'node:fs'
  import { release } from 'ebb'
  const kept = Array.from({ length: 300 }, () => Buffer.allocUnsafeSlow(16_000).fill(1))
  const isMarked = () => {
    const parts = [...readFileSync('/proc/self/smaps', 'latin1').matchAll(/\\[heap\\][^]*?VmFlags: (.*)/g)].map(
      ([, flags]) => flags.split(' ').includes('nh')
    )
    return parts[0] && parts.slice(0, -1).every(Boolean)
  }
  const before = isMarked()
  await release({ inSteps: true })
  await release()
  console.log(JSON.stringify([before, isMarked(), kept.length]))`

test.skipIf(!hasHugePages)('huge pages do not fill again what a release has returned', async () => {
  const child = new Child(PROGRAM, { shell: 'export GLIBC_TUNABLES=glibc.malloc.hugetlb=1' })
  expect(await child.next()).toEqual([false, true, 300])
})

test.skipIf(!hasHugePages)('mappings are left alone where the kernel would not fill them', async () => {
  const child = new Child(PROGRAM)
  expect(await child.next()).toEqual([false, false, 300])
})
