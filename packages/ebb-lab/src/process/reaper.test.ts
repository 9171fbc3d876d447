/** A process that is killed with SIGKILL: what it had started ends. */
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import { expect, onTestFinished, test, vi } from 'vitest'

const TESTING = import.meta.resolve('ebb-lab/testing')

/** A process that starts a command which starts another; the pids of the two. */
async function parent(after = ''): Promise<{ pid: number; children: number[]; kill(): void }> {
  const source = `
    import { launch, reaper } from '${TESTING}'
    const launched = await launch(['/bin/sh', '-c', 'trap "" TERM; sleep 600 & echo $! $$; wait'])
    launched.stdout.on('data', (text) => process.stdout.write(text))
    ${after}`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', source], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  let said = ''
  child.stdout.on('data', (chunk: Buffer) => {
    said += chunk.toString()
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  await vi.waitFor(() => expect(said).toMatch(/\d+ \d+\n/), 20_000)
  const children = said.trim().split(' ').map(Number)
  for (const pid of children) expect(lives(pid)).toBe(true)
  return { pid: child.pid as number, children, kill: () => void child.kill('SIGKILL') }
}

function lives(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

/** The shell that watches over what a process started. */
function keepers(pid: number): number[] {
  return fs.readdirSync('/proc').flatMap((name) => {
    try {
      const [, ppid] = /^PPid:\s+(\d+)/m.exec(fs.readFileSync(`/proc/${name}/status`, 'utf8')) ?? []
      const command = fs.readFileSync(`/proc/${name}/cmdline`, 'utf8')
      return Number(ppid) === pid && command.includes('while read -r order name') ? [Number(name)] : []
    } catch {
      return []
    }
  })
}

test('SIGKILL: the command ends, and what it started, and the keeper', async () => {
  const { pid, children, kill } = await parent()
  const [keeper = 0] = keepers(pid)
  expect(keeper).toBeGreaterThan(0)
  kill()
  await vi.waitFor(() => expect([...children, keeper].filter(lives)).toEqual([]), 10_000)
})

test('an end of its own: the same', async () => {
  const { pid, children } = await parent('setTimeout(() => process.exit(), 1500)')
  const watching = keepers(pid)
  await vi.waitFor(() => expect([...children, ...watching, pid].filter(lives)).toEqual([]), 10_000)
})

test('the keeper does not hold the process', async () => {
  const { pid } = await parent('setTimeout(() => launched.stop(0), 500)')
  await vi.waitFor(() => expect(lives(pid)).toBe(false), 10_000)
})

test('a number that is another’s by now is left alone', async () => {
  const other = spawn('sleep', ['600'], { detached: true, stdio: 'ignore' })
  onTestFinished(() => void other.kill('SIGKILL'))
  const { pid, children, kill } = await parent(`
    reaper.keep(${other.pid}, '1')`)
  const [watching = 0] = keepers(pid)
  kill()
  await vi.waitFor(() => expect([...children, watching].filter(lives)).toEqual([]), 10_000)
  expect(lives(other.pid as number)).toBe(true)
})
