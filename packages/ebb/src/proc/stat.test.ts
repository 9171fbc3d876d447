import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import { expect, onTestFinished, test, vi } from 'vitest'
import { listProcesses, processIds } from './processes.js'
import { isRunning, readStat, StatFile } from './stat.js'

async function start(command: string, args: string[]): Promise<number> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  await once(child, 'spawn')
  return child.pid as number
}

test('reads the fields of a process whose name contains parentheses and blanks', async () => {
  const pid = await start(process.execPath, ['-e', "process.title = 'a) R 1 (b'; setInterval(() => {}, 1000)"])
  await vi.waitFor(() => expect(fs.readFileSync(`/proc/${pid}/stat`, 'latin1')).toContain('(a) R 1 (b)'), 20_000)
  process.kill(pid, 'SIGSTOP')
  await vi.waitFor(() => expect(readStat(pid).state).toBe('T'), 20_000)
  const text = fs.readFileSync(`/proc/${pid}/stat`, 'latin1')
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  expect(readStat(pid)).toEqual({
    state: 'T',
    parent: process.pid,
    group: Number(fields[2]),
    startTime: Number(fields[19]),
    cpu: (Number(fields[11]) + Number(fields[12])) * 10,
    flags: Number(fields[6])
  })
})

test('tells a zombie from a running process', async () => {
  // The shell that starts it becomes a program that does not wait for it.
  const shell = await start('/bin/sh', ['-c', 'sleep 0.1 & exec sleep 60'])
  const child = await vi.waitFor(() => {
    const found = listProcesses().find(({ parent }) => parent === shell)
    expect(found).toBeDefined()
    return found?.pid as number
  }, 20_000)
  await vi.waitFor(() => expect(readStat(child).state).toBe('Z'), 20_000)
  expect(isRunning(readStat(child))).toBe(false)
  expect(isRunning(readStat(process.pid))).toBe(true)
})

test('throws ENOENT if there is no such process', () => {
  expect(() => readStat(2 ** 22 + 1)).toThrow(expect.objectContaining({ code: 'ENOENT' }))
})

test('a file that is too short has no fields', () => {
  const file = new StatFile(process.pid)
  onTestFinished(() => file.close())
  for (const text of ['', '1 (x', '1 (x)', '1 (x) ', '1 (x) R']) {
    file.buffer = Buffer.from(text.padEnd(64, '9'))
    file.length = text.length
    expect([file.state, file.parent, file.startTime]).toEqual([text.endsWith('R') ? 'R' : '', 0, 0])
  }
})

test('lists all processes', () => {
  expect(processIds()).toContain(process.pid)
  expect(listProcesses().find(({ pid }) => pid === process.pid)).toMatchObject({ parent: process.ppid })
})
