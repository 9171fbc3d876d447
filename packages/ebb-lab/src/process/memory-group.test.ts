/** Tests cgroup v1 as this machine has it, and v2 on a tree of plain files, in which the kernel does nothing. */
import { spawn } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { launch } from './launch.js'
import { MemoryGroup } from './memory-group.js'

const allowed = (() => {
  try {
    const group = new MemoryGroup(100e6)
    void group.remove()
    return true
  } catch {
    return false
  }
})()

function directory(): string {
  const path = mkdtempSync(join(tmpdir(), 'ebb-cgroup-'))
  onTestFinished(() => rmSync(path, { recursive: true }))
  return path
}

test.skipIf(!allowed)('kills the server that exceeds the limit, counts it, and leaves the others running', async () => {
  const group = new MemoryGroup(120e6)
  const [greedy, modest] = [group.member(), group.member()]
  const quiet = await launch(['/bin/sleep', '60'], { cgroup: modest.procs })
  const takes = 'const held = []; setInterval(() => held.push(Buffer.alloc(5e6, 1)), 10)'
  const loud = await launch([process.execPath, '-e', takes], { cgroup: greedy.procs })
  await vi.waitFor(() => expect(readFileSync(modest.procs, 'utf8')).toContain(String(quiet.pid)))
  expect(await loud.exited).toEqual({ exitCode: null, signal: 'SIGKILL' })
  expect([greedy.oomKills(), modest.oomKills()]).toEqual([1, 0])
  expect(group.used()).toBeLessThan(121e6)
  expect(await quiet.stop()).toEqual({ exitCode: null, signal: 'SIGTERM' })
  await group.remove()
  expect(existsSync(group.folder)).toBe(false)
  // The group is gone: figures are 0, and no error is thrown.
  expect([group.used(), greedy.oomKills()]).toEqual([0, 0])
})

test.skipIf(!allowed)(
  'removing the group ends a process that has left the process group and environment of its server',
  async () => {
    const group = new MemoryGroup(120e6)
    const member = group.member()
    // The shell waits until `sleep` has a session of its own. Without its environment, stop() cannot find it.
    const server = await launch(['/bin/sh', '-c', 'setsid env -i /bin/sh -c "/bin/sleep 60 &"; exit'], {
      cgroup: member.procs
    })
    await server.exited
    await server.stop(0)
    expect(readFileSync(member.procs, 'utf8')).toMatch(/^\d+\n$/)
    await group.remove()
    expect(existsSync(group.folder)).toBe(false)
  }
)

test.skipIf(!allowed)('refuses a limit into which no process fits', () => {
  expect(() => new MemoryGroup(4096)).toThrow(/^the limit is too small for any process to begin in it: give more$/)
})

test.skipIf(!allowed)('the group is removed when its process is killed with SIGKILL', async () => {
  const source = `
    import { launch, MemoryGroup } from '${import.meta.resolve('ebb-lab/testing')}'
    const group = new MemoryGroup(200e6)
    await launch(['/bin/sh', '-c', 'setsid sleep 600 & exec sleep 600'], { cgroup: group.member().procs })
    console.log(group.folder)
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', source], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  const folder = await new Promise<string>((resolve) =>
    child.stdout.once('data', (text: Buffer) => resolve(text.toString().trim()))
  )
  expect(existsSync(folder)).toBe(true)
  child.kill('SIGKILL')
  await vi.waitFor(() => expect(existsSync(folder)).toBe(false), 15_000)
})

/** Makes the files of a v2 tree, which the kernel would make. */
function v2(folders: Record<string, string>): { root: string; self: string } {
  const root = directory()
  for (const [folder, controllers] of Object.entries(folders)) {
    mkdirSync(join(root, folder), { recursive: true })
    writeFileSync(join(root, folder, 'cgroup.subtree_control'), controllers)
  }
  writeFileSync(join(root, 'cgroup.controllers'), 'cpu memory')
  const self = join(root, 'self')
  writeFileSync(self, '0::/user/session\n')
  return { root, self }
}

test('reports that no group delegates its memory controller', () => {
  const tree = v2({ 'user/session': '' })
  expect(() => new MemoryGroup(1e6, tree)).toThrow(
    /^a limit needs a memory cgroup that this user may make: .*user\/session does not delegate its memory controller; run as root, or under systemd-run/
  )
  // Nothing is left of the attempts.
  expect(readdirSync(join(tree.root, 'user/session'))).toEqual(['cgroup.subtree_control'])
  expect(readdirSync(join(tree.root, 'user')).sort()).toEqual(['session'])
})

test('reports that there is no memory controller, or no cgroup at all', () => {
  const root = directory()
  writeFileSync(join(root, 'self'), '1:cpu:/\n0::/\n')
  expect(() => new MemoryGroup(1e6, { root, self: join(root, 'self') })).toThrow(
    'no cgroup of this process has the memory controller'
  )
  expect(() => new MemoryGroup(1e6, { root, self: join(root, 'none') })).toThrow(
    /none cannot be read, no such file or directory/
  )
})

test('reports the errno of a read-only tree', () => {
  // Nobody, not even root, can make a folder in /proc.
  const root = directory()
  writeFileSync(join(root, 'self'), '4:memory:/\n')
  mkdirSync(join(root, 'x'))
  expect(() => new MemoryGroup(1e6, { root: '/proc', self: join(root, 'self') })).toThrow(/\(E[A-Z]+\); run as root/)
  rmdirSync(join(root, 'x'))
})
