import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { E } from './constants.js'
import { NotifySocket, notify, notifyPath } from './notify.js'

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'ebb-notify-'))
  onTestFinished(() => rmSync(path, { recursive: true, force: true }))
  return path
}

/** A socket, and a function that returns its next notification. */
function receiver(path = join(folder(), 'notify.sock')): { socket: NotifySocket; next: () => Promise<object> } {
  const came: object[] = []
  let wake = (): void => {}
  const socket = new NotifySocket(path, (fields) => {
    came.push(Object.fromEntries(fields))
    wake()
  })
  // Holds the process open, as a reactor does not.
  const open = setInterval(() => {}, 1000)
  onTestFinished(() => {
    socket.close()
    clearInterval(open)
  })
  const next = async (): Promise<object> => {
    while (came.length === 0) await new Promise<void>((resolve) => (wake = resolve))
    return came.shift() as object
  }
  return { socket, next }
}

test('receives what systemd-notify and others send, in order', async () => {
  const { socket, next } = receiver()
  expect(notify('READY=1\nMAINPID=17\nSTATUS=a=b', socket.path)).toBe(0)
  expect(notify('not a field\n=1\nSTOPPING=1\n', socket.path)).toBe(0)
  expect(await next()).toEqual({ READY: '1', MAINPID: '17', STATUS: 'a=b' })
  expect(await next()).toEqual({ STOPPING: '1' })
  const send = 'import socket,sys;socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM).sendto(b"X=2",sys.argv[1])'
  execFileSync('python3', ['-c', send, socket.path])
  expect(await next()).toEqual({ X: '2' })
})

test('only this user may write to the socket', () => {
  const { socket } = receiver()
  expect(statSync(socket.path).mode & 0o777).toBe(0o600)
})

test('close() removes the file; sending then fails with its errno', () => {
  const { socket } = receiver()
  socket.close()
  socket.close()
  expect(notify('READY=1', socket.path)).toBe(E.ENOENT)
})

test('says EAGAIN when nobody reads', () => {
  const { socket } = receiver()
  let errno = 0
  for (let i = 0; i < 10_000 && errno === 0; i++) errno = notify('X=1', socket.path)
  expect(errno).toBe(E.EAGAIN)
  socket.drain()
  expect(notify('X=1', socket.path)).toBe(0)
})

test('does nothing without a supervisor', () => {
  expect(notify('READY=1', undefined)).toBe(-1)
  expect(notify('READY=1', '')).toBe(-1)
  expect(notify('READY=1', 'vsock:2:1234')).toBe(-1)
})

test('reads addresses as systemd writes them', () => {
  expect(notifyPath('/run/systemd/notify')).toBe('/run/systemd/notify')
  expect(notifyPath('@/org/notify')).toBe('\0/org/notify')
  expect(notifyPath('@')).toBeUndefined()
  expect(notifyPath('relative')).toBeUndefined()
})
