/** `diagnose()` and `ebb doctor` name where the memory of programs is that hold memory in one way each. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type DiagnoseOptions, type Diagnosis, diagnose, type PartKind } from 'ebb-lab'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Cli, ROOT } from '../support/cli.js'

let folder: string

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ebb-doctor-'))
  const args = ['-O0', '-Wall', '-Werror', '-o', holders(), join(ROOT, 'test/doctor/holders.c'), '-lpthread']
  const { status, stderr } = spawnSync('gcc', args, { encoding: 'utf8' })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
})
afterAll(() => rmSync(folder, { recursive: true }))

function holders(): string {
  return join(folder, 'holders')
}

/** Starts a command that prints `ready` once it holds its memory, and examines it. */
async function examine(command: readonly string[], options: DiagnoseOptions = { watch: 0 }): Promise<Diagnosis> {
  const program = new Cli(command)
  await program.said(/^ready$/m)
  return await diagnose(program.pid, options)
}

/** Returns the largest part, files left out. */
function largest({ parts }: Diagnosis): Diagnosis['parts'][number] | undefined {
  return parts.find(({ kind }) => kind !== 'file')
}

function codes({ advice }: Diagnosis): string[] {
  return advice.map(({ code }) => code)
}

/** Whether the parts add up to the anonymous memory within 2 %, and how much of it is unknown. */
function checkSum({ parts, memory }: Diagnosis): void {
  const own = parts.filter(({ group }) => group === 'anonymous')
  const sum = own.reduce((total, { bytes }) => total + bytes, 0)
  expect(Math.abs(sum - memory.anonymous)).toBeLessThanOrEqual(memory.anonymous * 0.02)
  const unknown = own.find(({ kind }) => kind === 'unknown')?.bytes ?? 0
  expect(unknown).toBeLessThanOrEqual(memory.anonymous * 0.02)
}

const THP = readFileSync('/sys/kernel/mm/transparent_hugepage/enabled', 'utf8')

/** What a program of one way holds most of, and the advice that it gets. */
const WAYS: [way: string, kind: PartKind, advice: string[]][] = [
  ['arenas', 'arenas', ['malloc-arenas', 'malloc-free']],
  ['full', 'arenas', ['malloc-free']],
  ['heap', 'heap', ['malloc-free']],
  ['stacks', 'stacks', ['stacks']],
  ['blocks', 'blocks', []],
  ['code', 'code', []],
  ['data', 'data', []],
  ['lazy', 'blocks', ['lazy-free']],
  ['shared', 'shared', ['shared-memory']],
  ['mappings', 'blocks', []]
]

describe('memory that is held in one way', () => {
  test.each(WAYS)('%s', async (way, kind, advice) => {
    const found = await examine([holders(), way])
    expect(largest(found)).toMatchObject({ kind })
    expect(codes(found)).toEqual(advice)
    checkSum(found)
  })

  test.skipIf(THP.includes('[never]'))('huge pages that hold one byte each', async () => {
    const found = await examine([holders(), 'huge'])
    const { bytes = 0, empty = 0 } = found.hugePages ?? {}
    expect(bytes).toBeGreaterThan(0)
    expect(empty / bytes).toBeGreaterThan(0.95)
    expect(codes(found)).toEqual(['huge-pages'])
  })

  test.each([
    ['four arenas', 'arenas', 5],
    ['an arena of two heaps', 'full', 3]
  ])('what malloc has freed in %s', async (_, way, heaps) => {
    const { malloc, parts } = await examine([holders(), way])
    const arenas = parts.find(({ kind }) => kind === 'arenas')
    // All but one of 50 blocks are freed, and those around a block that is left are no whole pages.
    expect((malloc?.releasable ?? 0) / (arenas?.bytes ?? 0)).toBeGreaterThan(0.8)
    expect(malloc).toMatchObject({ heaps, unknown: 0 })
  })

  test('bytes that wait in sockets', async () => {
    const found = await examine([holders(), 'unread'])
    expect(found.descriptors?.sockets).toMatchObject({
      count: { 'tcp ESTABLISHED': 200, 'tcp LISTEN': 1 },
      withUnread: 100
    })
    // 64 KiB were written to each, of which a kernel with small buffers may have refused some.
    expect(found.descriptors?.sockets.unread).toBeGreaterThan(100 * 32_768)
    // What the other end has not acknowledged yet counts as unsent there.
    expect(codes(found)).toContain('unread')
  })

  test('connections that are not closed', async () => {
    const found = await examine([holders(), 'closewait'])
    expect(found.descriptors?.sockets).toMatchObject({ count: { 'tcp CLOSE_WAIT': 50 }, unread: 0 })
    expect(codes(found)).toEqual(['close-wait'])
  })

  test('a heap that grows', async () => {
    const found = await examine([holders(), 'growth'], { watch: 500 })
    expect(found.trend?.perMinute).toBeGreaterThan(1e6)
    expect(codes(found)).toContain('growth')
  })
})
