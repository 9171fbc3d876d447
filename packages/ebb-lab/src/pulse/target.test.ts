import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ValueError } from '../units/parse.js'
import { parseServer, type Target } from './target.js'

const SCHEMES = ['tcp', 'tls', 'http', 'https', 'ws', 'wss', 'mqtt', 'mqtts']
const DEFAULT_PORTS: Record<string, number> = { http: 80, https: 443, ws: 80, wss: 443, mqtt: 1883, mqtts: 8883 }
const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?$/)
const host = fc.oneof(
  fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.')),
  fc.ipV4(),
  fc.ipV6().map((address) => `[${address}]`)
)
const port = fc.integer({ min: 1, max: 65_535 })
const path = fc.webPath().map((text) => (text.startsWith('/') ? text : `/${text}`))

test('a URL keeps its host, port, path and query', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...SCHEMES),
      host,
      fc.option(port, { nil: undefined }),
      path,
      fc.webQueryParameters(),
      (scheme, name, at, folder, query) => {
        fc.pre(at !== undefined || DEFAULT_PORTS[scheme] !== undefined)
        const hasPath = scheme.startsWith('http') || scheme.startsWith('ws')
        const tail = hasPath ? `${folder}?${query}` : ''
        const target = parseServer(`${scheme}://${name}${at === undefined ? '' : `:${at}`}${tail}`)
        const number = at ?? DEFAULT_PORTS[scheme]
        expect(target.address).toEqual({ host: name.replace(/^\[|\]$/g, ''), port: number })
        expect(target.tls).toBe(['tls', 'https', 'wss', 'mqtts'].includes(scheme))
        expect(target.path).toBe(hasPath ? tail : '/')
        expect(target.authority).toBe(number === DEFAULT_PORTS[scheme] ? name : `${name}:${number}`)
        // The text of a target is a target again.
        expect(parseServer(target.text)).toEqual({ ...target, username: null, password: null })
      }
    )
  )
})

test('agrees with new URL() about users and paths', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1 }), fc.string(), fc.string(), (user, password, text) => {
      const parts = [user, password].map(encodeURIComponent).join(':')
      const url = `http://${parts}@host/${text.replace(/[\\"<>^`{|}']/g, '').replace(/\.+/g, '')}`
      const parsed = new URL(url)
      const target = parseServer(url)
      expect([target.username, target.password]).toEqual([user, password])
      // new URL() drops tabs, line ends and spaces at the end.
      fc.pre(!/[\t\r\n]|\s$/.test(url))
      expect(target.path.replace(/\?$/, '')).toBe(parsed.pathname + parsed.search)
    })
  )
})

test('what reaches a request line is printable ASCII without spaces', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const target = attempt(`ws://host/${text}`)
      if (target !== undefined) expect(target.path).toMatch(/^\/[\x21-\x7e]*$/)
    })
  )
})

test('text that is nearly a URL is refused with a sentence, or understood', () => {
  const nearly = fc
    .array(
      fc.constantFrom(...SCHEMES, '://', ':', '/', '//', '[', ']', '@', '?', '#', '%', '\\', ' ', '\n', '1', 'a', '.')
    )
    .map((parts) => parts.join(''))
  fc.assert(
    fc.property(nearly, (text) => {
      const target = attempt(text)
      if (target === undefined || 'path' in target.address) return
      expect(target.address.host).toMatch(/^[^\s/?#@]+$/)
      expect(target.address.port).toBeGreaterThan(0)
    }),
    { numRuns: 2000 }
  )
})

/** Parses a text. Returns undefined if it is refused; fails if the refusal is no sentence for a person. */
function attempt(text: string): Target | undefined {
  try {
    return parseServer(text)
  } catch (error) {
    expect(error).toBeInstanceOf(ValueError)
    expect((error as Error).message).not.toMatch(/[\n\r]|undefined|NaN/)
    return undefined
  }
}

test.each<[string, Partial<Target>]>([
  ['127.0.0.1:3033', { protocol: 'tcp', tls: false, address: { host: '127.0.0.1', port: 3033 } }],
  ['3033', { address: { host: '127.0.0.1', port: 3033 } }],
  [':3033', { address: { host: '127.0.0.1', port: 3033 } }],
  ['[::1]:80', { address: { host: '::1', port: 80 } }],
  ['mqtt:80', { protocol: 'tcp', address: { host: 'mqtt', port: 80 } }],
  ['/run/a.sock', { protocol: 'tcp', address: { path: '/run/a.sock' } }],
  ['unix:a b.sock', { address: { path: 'a b.sock' } }],
  ['unix:/run/a.sock', { address: { path: '/run/a.sock' } }],
  ['unix:///run/a.sock', { address: { path: '/run/a.sock' } }],
  ['HTTP://Host', { protocol: 'http', address: { host: 'Host', port: 80 }, path: '/', authority: 'Host' }],
  ['https://[::1]/', { tls: true, address: { host: '::1', port: 443 }, authority: '[::1]' }],
  ['http://host:/a', { address: { host: 'host', port: 80 }, path: '/a' }],
  ['http://host?a={id}#b', { path: '/?a={id}' }],
  ['http://host/ä b', { path: '/%C3%A4%20b' }],
  ['ws://bücher.example/', { address: { host: 'xn--bcher-kva.example', port: 80 } }],
  ['mqtt://user-{id}:a%3Ab@host', { username: 'user-{id}', password: 'a:b', text: 'mqtt://host:1883' }],
  ['mqtts://user@host/', { username: 'user', password: null, address: { host: 'host', port: 8883 } }]
])('%s', (text, target) => {
  expect(parseServer(text)).toMatchObject(target)
})

test.each([
  ['tcp://host', 'no default port'],
  ['tcp://host:1/path', 'no path'],
  ['tls://user@host:1', 'no user'],
  ['mqtt://host/topic', 'no path'],
  ['ftp://host', 'ftp:// is not known'],
  ['http://', 'no host'],
  ['http://:80', 'no host'],
  ['http://host:0', 'from 1 to 65535'],
  ['http://host:65536', 'from 1 to 65535'],
  ['http://host:999999999999', 'from 1 to 65535'],
  ['http://a b/', 'no host name'],
  ['http://a%2f/', 'no host name'],
  ['http://[127.0.0.1]/', 'no IPv6 address'],
  ['http://[::1', 'is not a URL'],
  ['http://::1/', 'is not a URL'],
  ['http://u%zz@host', 'write %25'],
  ['http:/host', 'a server is a URL'],
  ['host', 'a server is a URL'],
  ['unix:', 'a server is a URL']
])('refuses %s', (text, why) => {
  expect(() => parseServer(text)).toThrow(ValueError)
  expect(() => parseServer(text)).toThrow(why)
})
