import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { afterEach, expect, test, vi } from 'vitest'
import { ProcessView } from './process.js'
import { ProcessTree } from './process-tree.js'

/** Those who come are noticed within half a second. */
const PATIENCE = 20_000

const started: ChildProcess[] = []
const opened: { close(): void }[] = []
afterEach(() => {
  for (const view of opened.splice(0)) view.close()
  // With all that it started.
  for (const child of started.splice(0)) process.kill(-(child.pid as number), 'SIGKILL')
})

/** A shell's commands, in a process group of their own; what they print first, as numbers. */
async function shell(script: string): Promise<{ child: ChildProcess; pid: number; numbers: number[] }> {
  const child = spawn('sh', ['-c', script], { detached: true, stdio: ['pipe', 'pipe', 'inherit'] })
  started.push(child)
  const [chunk] = (await once(child.stdout as NodeJS.ReadableStream, 'data')) as [Buffer]
  return { child, pid: child.pid as number, numbers: chunk.toString().trim().split(' ').map(Number) }
}

function tree(pid: number): ProcessTree {
  const tree = new ProcessTree(pid)
  opened.push(tree)
  return tree
}

function view(pid: number): ProcessView {
  const view = new ProcessView(pid)
  opened.push(view)
  return view
}

test('is the sum of a process, its children and theirs', async () => {
  const { pid, numbers } = await shell('sleep 60 & a=$!; sh -c "sleep 60 & echo $a \\$\\$ \\$!; wait" & wait')
  const views = [pid, ...numbers].map(view)
  const whole = tree(pid)
  await vi.waitFor(() => {
    whole.status()
    expect(whole.size).toBe(4)
  }, PATIENCE)
  const sum = (read: (view: ProcessView) => number): number => views.reduce((total, each) => total + read(each), 0)
  // A shell that has just begun takes another page now and then, between two looks at it.
  await vi.waitFor(() => {
    const status = whole.status()
    for (const key of ['resident', 'anonymous', 'file', 'peak', 'threads'] as const) {
      expect(status[key]).toBe(sum((each) => each.status()[key]))
    }
    expect(whole.descriptors()).toBe(sum((each) => each.descriptors() ?? Number.NaN))
    const shares = whole.smaps()
    expect(shares?.private).toBe(sum((each) => each.smaps()?.private ?? Number.NaN))
  }, PATIENCE)
})

test('those who come are in it, those who have gone are not, and their time stays', async () => {
  const busy = 'i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done'
  const { child, pid, numbers } = await shell(`echo 0; read x; sh -c '${busy}; echo $$; exec sleep 60' & wait; read x`)
  expect(numbers).toEqual([0])
  const whole = tree(pid)
  const alone = view(pid)
  whole.status()
  expect(whole.size).toBe(1)
  child.stdin?.write('\n')
  const [chunk] = (await once(child.stdout as NodeJS.ReadableStream, 'data')) as [Buffer]
  await vi.waitFor(() => {
    whole.status()
    expect(whole.size).toBe(2)
  }, PATIENCE)
  const during = whole.cpu()
  expect(during).toBeGreaterThan(alone.cpu())
  process.kill(Number(chunk), 'SIGKILL')
  await vi.waitFor(() => {
    expect(whole.status().anonymous).toBe(alone.status().anonymous)
    expect(whole.size).toBe(1)
  }, PATIENCE)
  expect(whole.cpu()).toBeGreaterThanOrEqual(during)
  // Once its parent has collected it, which a dead one that holds no memory may still wait for, the kernel's own account has it, for
  // whoever looks only now.
  const later = tree(pid)
  await vi.waitFor(() => expect(later.cpu()).toBeGreaterThanOrEqual(during), PATIENCE)
})

test('one whose parent has ended stays', async () => {
  const { pid, numbers } = await shell('sh -c "sleep 60 & echo \\$\\$ \\$!; wait" & wait; sleep 60')
  const [middle, leaf] = numbers as [number, number]
  const whole = tree(pid)
  await vi.waitFor(() => {
    whole.status()
    expect(whole.size).toBe(3)
  }, PATIENCE)
  process.kill(middle, 'SIGKILL')
  // The shell goes on to its own sleep.
  await vi.waitFor(() => {
    whole.status()
    expect(whole.size).toBe(3)
    expect(() => view(middle)).toThrow()
  }, PATIENCE)
  expect(whole.status().anonymous).toBeGreaterThan(0)
  process.kill(leaf, 'SIGKILL')
})

test('ends with its root', async () => {
  const { pid } = await shell('echo 1; sleep 60')
  const whole = tree(pid)
  whole.status()
  process.kill(pid, 'SIGKILL')
  await vi.waitFor(() =>
    expect(() => whole.status()).toThrow(expect.objectContaining({ name: 'ProcessError', gone: true }))
  )
  whole.close()
  whole.close()
})
