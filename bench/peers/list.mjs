/** The servers that `npm run bench` measures. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { delimiter } from 'node:path'
import { fileURLToPath } from 'node:url'
import { descriptorLimit } from 'ebb/sys'
import { C, ebbServe, find, installed, nodeNet, numberIn, versionFrom } from '../harness/servers.mjs'

/** @import { Server } from '../harness/servers.mjs' */

const here = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url))
const NETTY = ['buffer', 'common', 'resolver', 'transport'].map((part) => `/usr/share/java/netty-${part}.jar`)
const BUN = installed(`node_modules/@oven/bun-linux-${process.arch === 'arm64' ? 'aarch64' : 'x64'}/bin/bun`)
const DENO = installed(`node_modules/@deno/linux-${process.arch}-glibc/deno`)

/** Connections that a proxy can hold: it uses two descriptors for each, and some for itself. */
const PROXIED = Math.min(10_000, Math.floor((descriptorLimit() - 200) / 2))

/**
 * Returns the path of the Node of a release line: the one that `bench/install` installed, or else the running one.
 *
 * @param {string} line for instance `20`
 */
function node(line) {
  const path = installed(`node_modules/node-${line}/bin/node`)
  return !existsSync(path) && process.versions.node.startsWith(`${line}.`) ? process.execPath : path
}

/**
 * Describes the three servers that run on a Node of a release line.
 *
 * @param {string} line
 */
function onNode(line) {
  const path = node(line)
  const common = { install: 'node', needs: [path], version: () => `Node ${versionFrom(path, '--version')}` }
  return {
    ebb: { ...common, what: '`ebb serve`, which uses `listen()`', command: ebbServe(path) },
    net: { ...common, what: '`node:net`', command: nodeNet(path) },
    auto: {
      ...common,
      what: 'the same with `--import ebb/auto`',
      command: [path, '--import', createRequire(import.meta.url).resolve('ebb/auto'), ...nodeNet(path).slice(1)]
    }
  }
}

const [node20, node26] = [onNode('20'), onNode('26')]

/**
 * All servers, in the order of the table.
 *
 * @type {readonly Server[]}
 */
export const PEERS = [
  C,
  { id: 'ebb', name: 'ebb, Node 20', ...node20.ebb },
  { id: 'ebb-26', name: 'ebb, Node 26', ...node26.ebb },
  { id: 'node-20', name: 'Node 20 net', ...node20.net },
  { id: 'auto-20', name: 'Node 20 + ebb/auto', ...node20.auto },
  { id: 'node-26', name: 'Node 26 net', ...node26.net },
  { id: 'auto-26', name: 'Node 26 + ebb/auto', ...node26.auto },
  {
    id: 'bun',
    name: 'Bun',
    what: '`Bun.listen`, which uses uSockets',
    install: 'bun',
    needs: [BUN],
    command: [BUN, here('programs/bun.ts'), '{port}'],
    version: () => `Bun ${versionFrom(BUN, '--version')}`
  },
  {
    id: 'deno',
    name: 'Deno',
    what: '`Deno.listen`',
    install: 'deno',
    needs: [DENO],
    command: [DENO, 'run', '--quiet', '--allow-net', here('programs/deno.ts'), '{port}'],
    version: () => `Deno ${versionFrom(DENO, '--version')}`
  },
  ...[
    { id: 'go', name: 'Go net', what: 'a goroutine for each connection', binary: 'go-goroutines' },
    {
      id: 'go-free',
      name: 'Go net, freeing',
      what: 'the same with `debug.FreeOSMemory` every second',
      binary: 'go-goroutines',
      mode: 'free'
    },
    { id: 'go-epoll', name: 'Go, epoll', what: 'one goroutine and epoll, through `syscall`', binary: 'go-epoll' }
  ].map(
    (
      /** @type {{ id: string, name: string, what: string, binary: string, mode?: string }} */ { binary, mode, ...peer }
    ) => ({
      ...peer,
      install: 'go',
      needs: [installed(`bin/${binary}`)],
      command: [installed(`bin/${binary}`), '{port}', ...(mode ? [mode] : [])],
      version: () => `Go ${versionFrom('go', 'version')}`
    })
  ),
  {
    id: 'tokio',
    name: 'Rust, Tokio',
    what: 'a task for each connection',
    install: 'tokio',
    needs: [installed('bin/tokio')],
    command: [installed('bin/tokio'), '{port}'],
    version: () =>
      `Tokio ${/name = "tokio"\nversion = "(.*)"/.exec(readFileSync(installed('tokio/Cargo.lock'), 'utf8'))?.[1]}`
  },
  {
    id: 'erlang',
    name: 'Erlang, gen_tcp',
    what: 'a process for each connection',
    install: 'erlang',
    needs: ['erl', installed('bin/discard.beam')],
    command: ['erl', '-noinput', '-pa', installed('bin'), '-run', 'discard', 'start', '{port}'],
    version: () =>
      `OTP ${versionFrom('erl', '-noinput', '-eval', 'io:put_chars(erlang:system_info(otp_release)), halt().')}`
  },
  {
    id: 'java',
    name: 'Java, NIO',
    what: 'one thread and a selector',
    install: 'java',
    needs: ['java', installed('java/Nio.class')],
    command: ['java', '-cp', installed('java'), 'Nio', '{port}'],
    version: () => `OpenJDK ${versionFrom('java', '-version')}`
  },
  {
    id: 'netty',
    name: 'Java, Netty',
    what: 'the discard server of its guide',
    install: 'netty',
    needs: ['java', installed('java/Netty.class'), ...NETTY],
    command: ['java', '-cp', [installed('java'), ...NETTY].join(delimiter), 'Netty', '{port}'],
    version: () => {
      const jar = readdirSync('/usr/share/java').find((name) => /^netty-buffer-/.test(name))
      return `Netty ${numberIn(jar ?? '')}, OpenJDK ${versionFrom('java', '-version')}`
    }
  },
  ...[
    {
      id: 'nginx',
      name: 'nginx stream',
      what: 'a proxy to a server that drops all data; master and worker are one process',
      version: () => `nginx ${versionFrom(find('nginx') ?? 'nginx', '-v')}`
    },
    {
      id: 'haproxy',
      name: 'HAProxy TCP',
      what: 'a proxy to a server that drops all data',
      version: () => `HAProxy ${versionFrom(find('haproxy') ?? 'haproxy', '-v')}`
    }
  ].map((peer) => ({
    ...peer,
    install: peer.id,
    needs: peer.id === 'nginx' ? ['nginx', '/usr/lib/nginx/modules/ngx_stream_module.so'] : ['haproxy'],
    command: [process.execPath, here('programs/proxy.mjs'), peer.id, '{port}', String(PROXIED)],
    most: PROXIED
  }))
]

/** Sentences about well-known servers that are not in the list. */
export const UNAVAILABLE = [
  'uWebSockets.js is not on npm and serves only HTTP and WebSocket. `Bun.listen` uses uSockets, its core.',
  'gnet, evio and netpoll, event loops for Go, are not in Debian. `Go, epoll` does what they do, without a library.'
]
