import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { describe, nameOf } from './describe.js'
import { goVersion } from './go-version.js'

let folder: string
const children: ChildProcess[] = []
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'ebb-'))
  fs.chmodSync(folder, 0o755)
})
afterAll(() => fs.rmSync(folder, { recursive: true }))
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
})

async function start(program: string, args: string[], user: { uid?: number; gid?: number } = {}): Promise<number> {
  const child = spawn(program, args, { stdio: 'ignore', cwd: '/', ...user })
  children.push(child)
  await once(child, 'spawn')
  return child.pid as number
}

function copyOfNode(name: string): string {
  const program = path.join(folder, name)
  fs.copyFileSync(process.execPath, program)
  fs.chmodSync(program, 0o755)
  return program
}

const wait = ['-e', 'setInterval(() => {}, 1000)']

test('describes this process and its machine', async () => {
  expect(await describe(process.pid)).toEqual({
    command: expect.arrayContaining([]),
    runtime: { name: 'node', version: process.versions.node },
    machine: { cpus: os.cpus().length, memory: os.totalmem(), arch: process.arch },
    kernel: `Linux ${os.release()}`
  })
})

test('asks another node for its version, with the rights of its user', async () => {
  const program = copyOfNode('node')
  const user = process.geteuid?.() === 0 ? { uid: 65534, gid: 65534 } : {}
  const pid = await start(program, wait, user)
  const { command, runtime } = await describe(pid)
  expect(command).toEqual([program, ...wait])
  expect(runtime).toEqual({ name: 'node', version: process.versions.node })
  fs.rmSync(program)
  expect((await describe(pid)).runtime).toEqual({ name: 'node', version: process.versions.node })
})

test('never executes a program of another name', async () => {
  const pid = await start(copyOfNode('python3.12'), wait)
  expect((await describe(pid)).runtime).toEqual({ name: 'python', version: null })
  expect((await describe(await start(copyOfNode('nodes'), wait))).runtime).toBeNull()
})

test('returns nulls, not an error, for a process that does not exist', async () => {
  expect(await describe(2 ** 22 + 1)).toMatchObject({ command: null, runtime: null })
})

test.each([
  [['node', '/srv/app/server.js'], 'node server.js'],
  [['/usr/bin/node', '--inspect', 'x.js', '--port', '1'], 'node x.js'],
  [['/usr/bin/nodejs', 'x.js'], 'nodejs x.js'],
  [['node-22', '-r', 'ebb/auto', 'x.js'], 'node-22 x.js'],
  [['node_exporter', 'x.js'], 'node_exporter'],
  [['deno', 'run', '-A', 'x.ts'], 'deno x.ts'],
  [['python3.11', 'serve.py'], 'python3.11 serve.py'],
  [['/usr/sbin/server', 'config'], 'server'],
  [['nginx: master process /usr/sbin/nginx -g daemon off;'], 'nginx'],
  [['sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups'], 'sshd'],
  [['node', '--import', 'ebb/auto', '-e', 'let n = 0\nserve()'], 'node -e'],
  [['python3', '-c', 'serve()'], 'python3 -c'],
  [['nginx', '-c', '/srv/nginx.conf'], 'nginx nginx.conf'],
  [null, 'pid 7']
])('calls %j %j', (command, name) => {
  expect(nameOf(7, command)).toBe(name)
})

const elf = (version: string, flags = 2) =>
  Buffer.concat([
    Buffer.from('\xff Go buildinf:', 'latin1'),
    Buffer.from([8, flags]),
    Buffer.alloc(16),
    Buffer.from([version.length]),
    Buffer.from(version)
  ])

test.each<[string, Buffer[], object | null]>([
  ['a version', [Buffer.alloc(160), elf('go1.22.3')], { name: 'go', version: '1.22.3' }],
  ['a version after 1 MiB', [Buffer.alloc(1_048_576 - 16), elf('go1.19')], { name: 'go', version: '1.19' }],
  ['only the magic bytes, as in a constant', [Buffer.alloc(7), elf('go1.1'), Buffer.alloc(9)], null],
  ['a block of Go before 1.18', [elf('', 0)], { name: 'go', version: null }],
  ['a truncated block', [elf('go1.22.3').subarray(0, 20)], null],
  ['no block of Go', [Buffer.alloc(100)], null],
  ['no content', [], null]
])('an executable with %s', async (_, parts, expected) => {
  const file = path.join(folder, 'program')
  fs.writeFileSync(file, Buffer.concat(parts))
  expect(await goVersion(file)).toEqual(expected)
})

test('returns null for an executable that cannot be read', async () => {
  expect(await goVersion(path.join(folder, 'none'))).toBeNull()
  expect(await goVersion(folder)).toBeNull()
})
