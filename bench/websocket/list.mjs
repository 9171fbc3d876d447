/** The servers that `npm run bench:websocket` compares. */
import { fileURLToPath } from 'node:url'
import { Child } from '../harness/child.mjs'
import { installed, missing } from '../harness/servers.mjs'
import { execArgv } from '../harness/sides.mjs'

/** @import { CommonOrders } from '../harness/serve.mjs' */

/**
 * What the clients speak: messages in frames, or in packets of socket.io.
 *
 * @typedef {'websocket' | 'socket.io'} Protocol
 */

/**
 * The orders of every server.
 *
 * @typedef {CommonOrders & {
 *   open(): { open: number, parked: number },
 *   broadcast(text: string): void
 * }} ServerOrders
 */

/**
 * A server to measure.
 *
 * @typedef {object} Server
 * @property {string} id its name on the command line (`--servers`)
 * @property {string} name its name in the table
 * @property {string} base id of the server that it is compared with
 * @property {Protocol} protocol
 * @property {boolean} parks whether idle connections are parked
 * @property {boolean} deflates whether it takes part in the measurement of permessage-deflate
 * @property {number} [mostDeflated] connections with permessage-deflate, if its memory allows no more
 * @property {string | undefined} absent why it cannot run on this machine
 * @property {(deflate: boolean) => Promise<Child<ServerOrders>>} start
 */

/** Milliseconds until ebb parks an idle connection. */
const IDLE = 500

const BUN = installed(`node_modules/@oven/bun-linux-${process.arch === 'arm64' ? 'aarch64' : 'x64'}/bin/bun`)
const GORILLA = installed('bin/go-gorilla')
const EIOWS = installed('node_modules/eiows/dist')

const program = (/** @type {string} */ name) => new URL(`programs/${name}`, import.meta.url)

/**
 * Returns what starts a program of this folder with Node.
 *
 * @param {string} name
 * @param {string} engine what the program uses
 * @returns {Server['start']}
 */
const onNode = (name, engine) => (deflate) => Child.start(program(name), { args: [engine, deflate, IDLE], execArgv })

/**
 * All servers, in the order of the table.
 *
 * @type {readonly Server[]}
 */
export const SERVERS = [
  {
    id: 'ws',
    name: 'ws',
    base: 'ws',
    protocol: 'websocket',
    parks: false,
    deflates: true,
    // 10,000 take 2.5 GB.
    mostDeflated: 1000,
    absent: undefined,
    start: onNode('ws.mjs', 'ws')
  },
  {
    id: 'ebb',
    name: 'ws, ebb/ws',
    base: 'ws',
    protocol: 'websocket',
    parks: true,
    deflates: true,
    absent: undefined,
    start: onNode('ws.mjs', 'ebb')
  },
  {
    id: 'hibernate',
    name: 'hibernate()',
    base: 'ws',
    protocol: 'websocket',
    parks: true,
    deflates: false,
    absent: undefined,
    start: onNode('hibernate.mjs', 'own')
  },
  {
    id: 'hibernate-http',
    name: 'hibernate() on http',
    base: 'ws',
    protocol: 'websocket',
    parks: true,
    deflates: false,
    absent: undefined,
    start: onNode('hibernate.mjs', 'http')
  },
  {
    id: 'socket.io',
    name: 'socket.io',
    base: 'ws',
    protocol: 'socket.io',
    parks: false,
    deflates: false,
    absent: undefined,
    start: onNode('socket-io.mjs', 'ws')
  },
  {
    id: 'socket.io-ebb',
    name: 'socket.io, ebb/ws',
    base: 'socket.io',
    protocol: 'socket.io',
    parks: true,
    deflates: false,
    absent: undefined,
    start: onNode('socket-io.mjs', 'ebb')
  },
  {
    id: 'eiows',
    name: 'socket.io, eiows',
    base: 'socket.io',
    protocol: 'socket.io',
    parks: false,
    deflates: false,
    // The addon is built for one version of Node.
    absent: missing({ needs: [`${EIOWS}/eiows_${process.versions.modules}.node`], install: 'eiows' }),
    start: onNode('socket-io.mjs', `${EIOWS}/eiows.js`)
  },
  {
    id: 'bun',
    name: 'Bun.serve',
    base: 'ws',
    protocol: 'websocket',
    parks: false,
    deflates: true,
    absent: missing({ needs: [BUN], install: 'bun' }),
    start: (deflate) => Child.run([BUN, fileURLToPath(program('bun.ts'))], [deflate])
  },
  {
    id: 'go',
    name: 'Go, gorilla',
    base: 'ws',
    protocol: 'websocket',
    parks: false,
    deflates: true,
    absent: missing({ needs: [GORILLA], install: 'go' }),
    start: (deflate) => Child.run([GORILLA], [deflate])
  }
]
