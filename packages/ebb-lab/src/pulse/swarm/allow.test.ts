import { expect, test } from 'vitest'
import { AllowList } from './allow.js'

const NAMES: Record<string, string[]> = {
  'both.test': ['10.1.2.3', '192.168.0.7'],
  'db.test': ['10.1.2.3'],
  'six.test': ['::ffff:10.1.2.3'],
  'bad.test': ['169.254.169.254']
}

async function lookup(host: string): Promise<string[]> {
  const found = NAMES[host]
  if (found === undefined) throw Object.assign(new Error('unknown'), { code: 'ENOTFOUND', hostname: host })
  return found
}

/** A target and the address to connect to, or null if it is refused. */
const CASES: [allow: string[], target: string, port: number, address: string | null][] = [
  [[], '127.0.0.1', 80, '127.0.0.1'],
  [[], '127.9.8.7', 80, '127.9.8.7'],
  [[], '::1', 80, '::1'],
  [[], '::ffff:127.0.0.1', 80, '::ffff:127.0.0.1'],
  [[], '10.1.2.3', 80, null],
  [[], 'db.test', 80, null],
  // The kernel treats this address as loopback, but the default list does not contain it.
  [[], '0.0.0.0', 80, null],
  [[], '::', 80, null],
  [[], '::ffff:10.1.2.3', 80, null],
  // A list replaces the default.
  [['10.0.0.0/8'], '127.0.0.1', 80, null],
  [['10.0.0.0/8'], '10.255.0.1', 65_535, '10.255.0.1'],
  [['10.0.0.0/8'], '11.0.0.1', 80, null],
  [['10.0.0.0/8'], 'db.test', 80, '10.1.2.3'],
  [['10.0.0.0/8'], 'six.test', 80, '::ffff:10.1.2.3'],
  [['10.0.0.0/8'], 'bad.test', 80, null],
  // Of several addresses, the allowed one is used.
  [['192.168.0.0/16'], 'both.test', 80, '192.168.0.7'],
  [['10.1.2.3/32'], '10.1.2.3', 1, '10.1.2.3'],
  [['10.1.2.3/32'], '10.1.2.4', 1, null],
  [['2001:db8::/32'], '2001:db8:1::5', 1, '2001:db8:1::5'],
  [['2001:db8::/32'], '2001:db9::5', 1, null],
  [['0.0.0.0/0'], '9.9.9.9', 1, '9.9.9.9'],
  [['0.0.0.0/0'], '2001:db8::1', 1, null],
  [['10.1.2.3:80'], '10.1.2.3', 80, '10.1.2.3'],
  [['10.1.2.3:80'], '10.1.2.3', 81, null],
  [['[2001:db8::1]:80'], '2001:db8::1', 80, '2001:db8::1'],
  [['db.test:80'], 'db.test', 80, '10.1.2.3'],
  [['db.test:80'], '10.1.2.3', 80, '10.1.2.3'],
  [['db.test:80'], 'db.test', 81, null],
  [['db.test:80'], 'bad.test', 80, null],
  [['gone.test:80', '10.0.0.0/8'], 'db.test', 80, '10.1.2.3'],
  [['gone.test:80'], 'db.test', 80, null]
]

test.each(CASES)('list %j, target %s:%d: %j', async (allow, host, port, address) => {
  const checked = new AllowList(allow, lookup).check({ host, port })
  if (address !== null) expect(await checked).toEqual({ host: address, port })
  else await expect(checked).rejects.toThrow(/not allowed here: this agent connects to/)
})

test('a host name that resolves to another address later does not get around the check', async () => {
  let asked = 0
  const list = new AllowList(['10.0.0.0/8'], async () => (asked++ === 0 ? ['10.0.0.1'] : ['127.0.0.1']))
  expect(await list.check({ host: 'rebinding.test', port: 80 })).toEqual({ host: '10.0.0.1', port: 80 })
  await expect(list.check({ host: 'rebinding.test', port: 80 })).rejects.toThrow(/127\.0\.0\.1.* is not allowed/)
})

test('rejects an unknown host name with the error of the lookup', async () => {
  await expect(new AllowList(['10.0.0.0/8']).check({ host: 'no.such.host.invalid', port: 80 })).rejects.toMatchObject({
    code: 'ENOTFOUND'
  })
})

test.each([
  '',
  '*',
  '10.0.0.1',
  '10.0.0.0/33',
  '::/129',
  '10.0.0/8',
  'host',
  'host:0',
  'host:99999',
  '[x]:80',
  'a b:80',
  ':80',
  '10.0.0.0/8:80'
])('rejects the entry %j', (entry) => {
  expect(() => new AllowList([entry])).toThrow(/HOST:PORT/)
})
