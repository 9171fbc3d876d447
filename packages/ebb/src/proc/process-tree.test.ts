import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { afterEach, expect, test, vi } from 'vitest'
import { ProcessView } from './process.js'
import { ProcessTree } from './process-tree.js'

/** Milliseconds to wait. New processes are found within 0.5 s. */
const PATIENCE = 20_000

const started: ChildProcess[] = []
const opened: { close(): void }[] = []
afterEach(() => {
  for (const view of opened.splice(0)) view.close()
  for (const child of started.splice(0)) killGroup(child.pid as number)
})

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch (error) {
    // The test has killed the last process of the group.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** Runs commands of a shell in a process group of their own. `numbers`: the first line that they print. */
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
  // A shell that has just started may take another page between two reads.
  await vi.waitFor(() => {
    const status = whole.status()
    for (const key of ['resident', 'anonymous', 'swapped', 'file', 'peak', 'threads'] as const) {
      expect(status[key]).toBe(sum((each) => each.status()[key]))
    }
    expect(whole.descriptors()).toBe(sum((each) => each.descriptors() ?? Number.NaN))
    const shares = whole.smaps()
    expect(shares?.private).toBe(sum((each) => each.smaps()?.private ?? Number.NaN))
  }, PATIENCE)
})

test('includes new processes and drops ended ones, whose CPU time stays', async () => {
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
  // Once its parent has waited for it, the kernel counts its time with the parent, so a new tree has it, too.
  const later = tree(pid)
  await vi.waitFor(() => expect(later.cpu()).toBeGreaterThanOrEqual(during), PATIENCE)
})

test('keeps a process whose parent has ended', async () => {
  const { pid, numbers } = await shell('sh -c "sleep 60 & echo \\$\\$ \\$!; wait" & wait; sleep 60')
  const [middle, leaf] = numbers as [number, number]
  const whole = tree(pid)
  await vi.waitFor(() => {
    whole.status()
    expect(whole.size).toBe(3)
  }, PATIENCE)
  process.kill(middle, 'SIGKILL')
  // The shell continues with its own sleep.
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
