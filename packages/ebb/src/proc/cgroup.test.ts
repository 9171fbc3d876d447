import { existsSync, mkdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { descriptors, directory } from '../../../../test/support/sockets.js'
import { CgroupLimit } from './cgroup.js'

const UNLIMITED_V1 = '9223372036854771712\n'

/** A folder of cgroup files: `put()` writes files, `limit()` opens the limit for a process whose groups are `self`. */
function tree(self: string): { root: string; put(files: Record<string, string>): void; limit(): CgroupLimit } {
  const folder = directory()
  const root = join(folder, 'cgroup')
  mkdirSync(root)
  writeFileSync(join(folder, 'self'), self)
  return {
    root,
    put(files) {
      for (const [name, text] of Object.entries(files)) {
        mkdirSync(dirname(join(root, name)), { recursive: true })
        writeFileSync(join(root, name), text)
      }
    },
    limit() {
      const limit = new CgroupLimit(root, join(folder, 'self'))
      onTestFinished(() => limit.close())
      return limit
    }
  }
}

/** Contents of `memory.stat` with one line of interest. */
function stat(line: string): string {
  return `anon 5\nfile 900\n${line}\nactive_file 7\n`
}

test.each([
  [
    'v1',
    '12:pids:/app\n4:memory:/app\n0::/\n',
    { 'memory/app/memory.usage_in_bytes': '750\n', 'memory/app/memory.limit_in_bytes': '1000\n' }
  ],
  [
    'v1, together with another controller',
    '4:hugetlb,memory:/app\n',
    { 'memory/app/memory.usage_in_bytes': '750\n', 'memory/app/memory.limit_in_bytes': '1000\n' }
  ],
  [
    'v1 beside v2',
    '4:memory:/app\n0::/app\n',
    {
      'cgroup.controllers': '',
      'app/memory.current': '1\n',
      'app/memory.max': '1000\n',
      'memory/app/memory.usage_in_bytes': '750\n',
      'memory/app/memory.limit_in_bytes': '1000\n'
    }
  ],
  [
    'v2',
    '0::/app\n',
    {
      'cgroup.controllers': 'memory',
      'app/memory.current': '750\n',
      'app/memory.max': '1000\n',
      'app/memory.high': 'max\n'
    }
  ],
  [
    'v2, with a soft limit',
    '0::/app\n',
    {
      'cgroup.controllers': 'memory',
      'app/memory.current': '750\n',
      'app/memory.max': 'max\n',
      'app/memory.high': '1000\n'
    }
  ],
  [
    'v2, with its own group as the root, as in a container',
    '0::/\n',
    {
      'cgroup.controllers': 'memory',
      'memory.current': '750\n',
      'memory.max': '1000\n',
      'memory.high': 'max\n'
    }
  ],
  [
    'v1, with a name from outside of the container',
    '4:memory:/docker/0123\n',
    { 'memory/memory.usage_in_bytes': '750\n', 'memory/memory.limit_in_bytes': '1000\n' }
  ],
  [
    'v1, with a name from another namespace',
    '4:memory:/../../docker\n',
    { 'memory/memory.usage_in_bytes': '750\n', 'memory/memory.limit_in_bytes': '1000\n' }
  ],
  [
    'v2, with a name from another namespace',
    '0::/../app\n',
    { 'cgroup.controllers': 'memory', 'memory.current': '750\n', 'memory.max': '1000\n' }
  ],
  [
    'v2, with a colon and a blank in the name',
    '0::/app:1 x\n',
    { 'cgroup.controllers': 'memory', 'app:1 x/memory.current': '750\n', 'app:1 x/memory.max': '1000\n' }
  ]
])('finds usage and limit: %s', (_, self, files: Record<string, string>) => {
  const { put, limit } = tree(self)
  put(files)
  expect(limit().used()).toBe(0.75)
})

test('sees a limit that changes, and one that is set later', () => {
  const { put, limit } = tree('0::/app\n')
  put({
    'cgroup.controllers': 'memory',
    'app/memory.current': '600\n',
    'app/memory.max': 'max\n',
    'app/memory.high': 'max\n'
  })
  const changing = limit()
  expect([changing.used(), changing.limit()]).toEqual([0, undefined])
  put({ 'app/memory.max': '1000\n' })
  expect([changing.used(), changing.limit()]).toEqual([0.6, 1000])
  put({ 'app/memory.high': '800\n' })
  expect([changing.used(), changing.limit()]).toEqual([0.75, 800])
})

test.each([
  [
    'v2: swap alone',
    '0::/app\n',
    {
      'cgroup.controllers': 'memory',
      'app/memory.current': '100\n',
      'app/memory.max': '1000\n',
      'app/memory.swap.current': '450\n',
      'app/memory.swap.max': '500\n',
      'app/memory.swap.high': 'max\n'
    },
    0.9
  ],
  [
    'v2: the soft limit of swap',
    '0::/app\n',
    {
      'cgroup.controllers': 'memory',
      'app/memory.current': '100\n',
      'app/memory.max': 'max\n',
      'app/memory.swap.current': '450\n',
      'app/memory.swap.max': 'max\n',
      'app/memory.swap.high': '600\n'
    },
    0.75
  ],
  [
    'v2: no swap allowed',
    '0::/app\n',
    {
      'cgroup.controllers': 'memory',
      'app/memory.current': '100\n',
      'app/memory.max': '1000\n',
      'app/memory.swap.current': '0\n',
      'app/memory.swap.max': '0\n'
    },
    0.1
  ],
  [
    'v1: memory and swap together',
    '4:memory:/app\n',
    {
      'memory/app/memory.usage_in_bytes': '500\n',
      'memory/app/memory.limit_in_bytes': '1000\n',
      'memory/app/memory.memsw.usage_in_bytes': '1350\n',
      'memory/app/memory.memsw.limit_in_bytes': '1500\n'
    },
    0.9
  ]
])('counts swap where it is limited: %s', (_, self, files: Record<string, string>, used) => {
  const { put, limit } = tree(self)
  put(files)
  const swapping = limit()
  expect(swapping.used()).toBe(used)
  const most = Number.parseInt(files['app/memory.max'] ?? files['memory/app/memory.limit_in_bytes'] ?? '', 10)
  expect(swapping.limit()).toBe(Number.isNaN(most) ? undefined : most)
})

test.each([
  [
    'v2',
    '0::/outer/app\n',
    { 'cgroup.controllers': 'memory', 'outer/app/memory.current': '5\n', 'outer/app/memory.max': '1000\n' },
    'outer/app/memory.events',
    (count: number) => `low 7\nhigh ${count}\nmax 0\noom 0\noom_kill ${count % 2}\n`
  ],
  [
    'v2, in a group above',
    '0::/outer/app\n',
    {
      'cgroup.controllers': 'memory',
      'outer/memory.current': '5\n',
      'outer/memory.max': '1000\n',
      'outer/app/memory.current': '5\n',
      'outer/app/memory.max': 'max\n'
    },
    'outer/memory.events',
    (count: number) => `low 7\nhigh 0\nmax ${count}\noom 0\noom_kill 0\n`
  ],
  [
    'v1',
    '4:memory:/app\n',
    { 'memory/app/memory.usage_in_bytes': '5\n', 'memory/app/memory.limit_in_bytes': '1000\n' },
    'memory/app/memory.failcnt',
    (count: number) => `${count}\n`
  ]
])('notices that a limit was reached: %s', (_, self, files: Record<string, string>, events, text) => {
  const { put, limit } = tree(self)
  put({ ...files, [events]: text(3) })
  const group = limit()
  // Whatever happened before counts for nothing.
  expect([group.hasReachedLimit(), group.hasReachedLimit()]).toEqual([false, false])
  put({ [events]: text(4) })
  expect([group.hasReachedLimit(), group.hasReachedLimit()]).toEqual([true, false])
  put({ [events]: text(40) })
  expect(group.hasReachedLimit()).toBe(true)
})

test('without the files of swap and events, as on older kernels, there is no alarm', () => {
  const { put, limit } = tree('0::/app\n')
  put({ 'cgroup.controllers': 'memory', 'app/memory.current': '750\n', 'app/memory.max': '1000\n' })
  const group = limit()
  expect([group.used(), group.hasReachedLimit(), group.hasReachedLimit()]).toEqual([0.75, false, false])
})

test('refresh() follows the process to another group, and to a controller that comes later', () => {
  const { root, put, limit } = tree('0::/one\n')
  put({ 'cgroup.controllers': 'memory', 'one/cgroup.procs': '' })
  const group = limit()
  expect([group.refresh(), group.used(), group.pressure]).toEqual([false, 0, undefined])
  put({ 'one/memory.current': '500\n', 'one/memory.max': '1000\n', 'one/memory.pressure': 'some' })
  expect(group.used()).toBe(0)
  expect([group.refresh(), group.used(), group.pressure]).toEqual([true, 0.5, join(root, 'one/memory.pressure')])
  const open = descriptors()
  put({ 'two/memory.current': '900\n', 'two/memory.max': '1000\n' })
  writeFileSync(join(dirname(root), 'self'), '0::/two\n')
  expect(group.used()).toBe(0.5)
  expect([group.refresh(), group.used(), group.pressure]).toEqual([true, 0.9, undefined])
  expect([group.refresh(), descriptors() - open]).toEqual([false, 0])
})

test.each([
  [
    'v1',
    '4:memory:/app\n',
    { 'memory/app/memory.usage_in_bytes': '9\n', 'memory/app/memory.limit_in_bytes': UNLIMITED_V1 }
  ],
  ['v2', '0::/app\n', { 'cgroup.controllers': 'memory', 'app/memory.current': '9\n', 'app/memory.max': 'max\n' }],
  ['v2 without the memory controller', '0::/app\n', { 'cgroup.controllers': 'cpu', 'app/cgroup.procs': '' }],
  ['no cgroups', '', {}]
])('is 0 without a limit: %s', (_, self, files: Record<string, string>) => {
  const { put, limit } = tree(self)
  put(files)
  expect(limit().used()).toBe(0)
})

test('reads the tightest limit of nested groups, as it is now', () => {
  const { put, limit } = tree('0::/outer/inner\n')
  put({
    'cgroup.controllers': 'memory',
    'outer/memory.current': '600\n',
    'outer/memory.max': '1000\n',
    'outer/inner/memory.current': '100\n',
    'outer/inner/memory.max': '1000\n'
  })
  const nested = limit()
  expect(nested.used()).toBe(0.6)
  put({ 'outer/inner/memory.current': '900\n' })
  expect(nested.used()).toBe(0.9)
  put({ 'outer/memory.max': 'max\n', 'outer/inner/memory.max': '2000\n' })
  expect(nested.used()).toBe(0.45)
})

test('reads the tightest limit of nested groups of v1', () => {
  const { put, limit } = tree('4:memory:/outer/inner\n')
  put({
    'memory/memory.usage_in_bytes': '5\n',
    'memory/memory.limit_in_bytes': UNLIMITED_V1,
    'memory/outer/memory.usage_in_bytes': '600\n',
    'memory/outer/memory.limit_in_bytes': '1000\n',
    'memory/outer/inner/memory.usage_in_bytes': '100\n',
    'memory/outer/inner/memory.limit_in_bytes': UNLIMITED_V1
  })
  expect(limit().used()).toBe(0.6)
})

test.each([
  ['v2', '0::/\n', ['memory.current', 'memory.max', 'memory.stat'], 'inactive_file 400'],
  [
    'v1',
    '4:memory:/\n',
    ['memory/memory.usage_in_bytes', 'memory/memory.limit_in_bytes', 'memory/memory.stat'],
    'inactive_file 1\ntotal_inactive_file 400'
  ]
])('does not count inactive file pages, in %s', (_, self, [current = '', most = '', stats = ''], line) => {
  const { put, limit } = tree(self)
  put({ 'cgroup.controllers': 'memory', [current]: '950\n', [most]: '1000\n', [stats]: stat(line) })
  const filled = limit()
  expect(filled.used()).toBe(0.55)
  expect(filled.used(0.9)).toBe(0.55)
  // Far from the limit, memory.stat is not read.
  put({ [current]: '500\n' })
  expect(filled.used(0.9)).toBe(0.5)
})

test('is 0 for a limit of 0, and for a group that is gone', () => {
  const { root, put, limit } = tree('0::/app\n')
  put({ 'cgroup.controllers': 'memory', 'app/memory.current': '5\n', 'app/memory.max': '0\n' })
  const gone = limit()
  expect(gone.used()).toBe(0)
  writeFileSync(join(root, 'app/memory.max'), '')
  expect(gone.used()).toBe(0)
  rmSync(join(root, 'app'), { recursive: true })
  expect(gone.used()).toBe(0)
})

test('finds the pressure file of the own group, in v2', () => {
  const { root, put, limit } = tree('0::/app\n')
  put({ 'cgroup.controllers': 'memory', 'app/memory.current': '5\n', 'app/memory.max': 'max\n' })
  expect(limit().pressure).toBeUndefined()
  put({ 'app/memory.pressure': 'some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n' })
  expect(limit().pressure).toBe(join(root, 'app/memory.pressure'))
})

test('reads without new descriptors, and leaves none after close()', () => {
  const { put, limit } = tree('0::/outer/inner\n')
  put({
    'cgroup.controllers': 'memory',
    'outer/memory.current': '600\n',
    'outer/memory.max': '1000\n',
    'outer/memory.stat': stat('inactive_file 100'),
    'outer/inner/memory.current': '100\n'
  })
  const before = descriptors()
  const held = limit()
  const open = descriptors()
  expect(held.used()).toBe(0.5)
  expect(descriptors()).toBe(open)
  held.close()
  expect(descriptors()).toBe(before)
  held.close()
  expect(held.used()).toBe(0)
})

test('is 0 on a machine without /proc', () => {
  const limit = new CgroupLimit('/nowhere', '/nowhere/self')
  expect(limit.pressure).toBeUndefined()
  expect(limit.used()).toBe(0)
  limit.close()
})

const own = /^\d+:(?:.*,)?memory(?:,.*)?:(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1]
const group = own === undefined ? '' : join('/sys/fs/cgroup/memory', own)
const controllable = own !== undefined && existsSync(join(group, 'cgroup.procs')) && process.getuid?.() === 0

test.skipIf(!controllable)('reads a real group of v1', () => {
  const limited = join(group, `ebb-test-${process.pid}`)
  mkdirSync(limited)
  try {
    writeFileSync(join(limited, 'memory.limit_in_bytes'), String(100 * 2 ** 20))
    const self = join(directory(), 'self')
    writeFileSync(self, `4:memory:${own}/ebb-test-${process.pid}\n`)
    const limit = new CgroupLimit('/sys/fs/cgroup', self)
    expect(limit.used()).toBeLessThan(0.5)
    writeFileSync(join(limited, 'memory.limit_in_bytes'), String(2 ** 20))
    expect(limit.used()).toBeLessThanOrEqual(1)
    limit.close()
  } finally {
    rmdirSync(limited)
  }
})
