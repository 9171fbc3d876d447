import type { IncomingMessage } from 'node:http'
import { expect, test } from 'vitest'
import { Guard } from './guard.js'

function statusOf(guard: Guard, headers: Record<string, string>, token: string | null = null, method = 'GET'): number {
  return guard.refusal({ method, headers } as IncomingMessage, token)?.status ?? 200
}

test('on loopback, any name of this machine is allowed, and no other name', () => {
  const guard = new Guard('127.0.0.1')
  expect(guard.token).toBeUndefined()
  for (const host of ['127.0.0.1:5665', 'localhost:8080', 'LOCALHOST', '[::1]:5665', '127.8.9.10:1']) {
    expect([host, statusOf(guard, { host })]).toEqual([host, 200])
  }
  const others = [
    'evil.example:5665',
    'localhost.evil.example',
    '127.0.0.1.nip.io',
    '192.168.0.1',
    '',
    '[::2]:1',
    '128.0.0.1'
  ]
  for (const host of others) expect([host, statusOf(guard, { host })]).toEqual([host, 403])
})

test('other sites may link to the page, but not fetch from it', () => {
  const guard = new Guard('::1')
  const host = 'localhost:5665'
  expect(statusOf(guard, { host, origin: 'http://localhost:5665' })).toBe(200)
  for (const origin of ['http://evil.example', 'http://localhost:9999', 'null']) {
    expect(statusOf(guard, { host, origin })).toBe(403)
  }
  expect(statusOf(guard, { host, 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' })).toBe(200)
  for (const site of ['cross-site', 'same-site']) {
    expect(statusOf(guard, { host, 'sec-fetch-site': site, 'sec-fetch-mode': 'no-cors' })).toBe(403)
  }
  expect(statusOf(guard, { host, 'sec-fetch-site': 'same-origin', 'sec-fetch-mode': 'cors' })).toBe(200)
})

test('on other addresses, a request needs the token, and its Host may be any', () => {
  for (const address of ['0.0.0.0', '::', '192.168.0.1', 'box.local']) {
    const guard = new Guard(address)
    const token = guard.token ?? ''
    const host = 'box:5665'
    expect(token.length).toBeGreaterThan(20)
    expect(token).not.toBe(new Guard(address).token)
    expect(statusOf(guard, { host }, token)).toBe(200)
    expect(statusOf(guard, { host, authorization: `Bearer ${token}` })).toBe(200)
    for (const wrong of [null, '', token.slice(1), `${token}x`]) expect(statusOf(guard, { host }, wrong)).toBe(401)
    expect(statusOf(guard, { host, origin: 'http://evil.example' }, token)).toBe(403)
  }
})

test('nothing can be changed', () => {
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
    expect(statusOf(new Guard('localhost'), { host: 'localhost' }, null, method)).toBe(405)
  }
})
