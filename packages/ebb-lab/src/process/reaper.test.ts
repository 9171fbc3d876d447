/** Tests that what a process has started ends with it, even if the process is killed with SIGKILL. */
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import { expect, onTestFinished, test, vi } from 'vitest'

const TESTING = import.meta.resolve('ebb-lab/testing')

/** Starts a process whose command starts another command. `children` are the pids of the two commands. */
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

/** Returns the pids of the reapers of a process: at most one. */
function reapers(pid: number): number[] {
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

test('SIGKILL ends the command, what it started, and the reaper', async () => {
  const { pid, children, kill } = await parent()
  const [reaper = 0] = reapers(pid)
  expect(reaper).toBeGreaterThan(0)
  kill()
  await vi.waitFor(() => expect([...children, reaper].filter(lives)).toEqual([]), 10_000)
})

test('a process that ends by itself ends them, too', async () => {
  const { pid, children } = await parent('setTimeout(() => process.exit(), 1500)')
  const watching = reapers(pid)
  await vi.waitFor(() => expect([...children, ...watching, pid].filter(lives)).toEqual([]), 10_000)
})

test('the reaper does not keep the process running', async () => {
  const { pid } = await parent('setTimeout(() => launched.stop(0), 500)')
  await vi.waitFor(() => expect(lives(pid)).toBe(false), 10_000)
})

test('leaves alone a process group whose number was reused', async () => {
  const other = spawn('sleep', ['600'], { detached: true, stdio: 'ignore' })
  onTestFinished(() => void other.kill('SIGKILL'))
  const { pid, children, kill } = await parent(`
    reaper.watchGroup(${other.pid}, 1)`)
  const [watching = 0] = reapers(pid)
  kill()
  await vi.waitFor(() => expect([...children, watching].filter(lives)).toEqual([]), 10_000)
  expect(lives(other.pid as number)).toBe(true)
})
