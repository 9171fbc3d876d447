import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { expect, onTestFinished, test } from 'vitest'
import { SharedPages } from './shared-pages.js'

/** Starts a process that prints a line once it runs and then does nothing. Returns its pid. */
async function node(
  program = process.execPath,
  args = ['-e', 'console.log(1); setInterval(() => {}, 1000)']
): Promise<number> {
  const child: ChildProcess = spawn(program, args, { stdio: ['ignore', 'pipe', 'ignore'] })
  onTestFinished(async () => {
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null)
      await new Promise((resolve) => child.once('exit', resolve))
  })
  await new Promise((resolve) => child.stdout?.once('data', resolve))
  return child.pid as number
}

function fileOf(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const kb = (field: string): number => Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(status)?.[1])
  return (kb('RssFile') + kb('RssShmem')) * 1024
}

test('divides the pages of a program evenly among the processes that run it', async () => {
  const [one, two, three] = [await node(), await node(), await node()]
  const pages = new SharedPages()
  const alone = pages.measure([one]).get(one) as number
  // The kernel also counts pages without a file as file pages (vdso).
  expect(alone / fileOf(one)).toBeGreaterThan(0.9)
  expect(alone / fileOf(one)).toBeLessThan(1.05)
  for (const pids of [
    [one, two],
    [one, two, three]
  ]) {
    const shares = pages.measure(pids)
    const sum = pids.reduce((total, pid) => total + (shares.get(pid) as number), 0)
    // Each page counts once, so together they have little more than one process alone, even if other processes of the
    // machine run the same program.
    expect(sum / alone).toBeGreaterThan(0.95)
    expect(sum / alone).toBeLessThan(1.3)
    for (const pid of pids) expect(((shares.get(pid) as number) * pids.length) / sum).toBeCloseTo(1, 0)
  }
})

test('gives a process nearly all its pages if the other runs another program', async () => {
  const [one, other] = [await node(), await node('/bin/sh', ['-c', 'echo 1; while :; do sleep 1; done'])]
  const pages = new SharedPages()
  const alone = pages.measure([one]).get(one) as number
  const shares = pages.measure([one, other])
  expect((shares.get(one) as number) / alone).toBeGreaterThan(0.9)
  expect(shares.get(other) as number).toBeLessThan(alone / 5)
})

test('returns null for a process that has ended, and figures for the others', async () => {
  const one = await node()
  expect(new SharedPages().measure([one, 2 ** 22 + 1]).get(2 ** 22 + 1)).toBe(null)
  expect(new SharedPages().measure([one, 2 ** 22 + 1]).get(one)).toBeGreaterThan(0)
  expect(new SharedPages().measure([])).toEqual(new Map())
})
