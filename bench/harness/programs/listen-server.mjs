/** An echo with the handlers of `listen()`. */
import { listen } from 'ebb'
import { HOST, report } from '../serve.mjs'

const { address } = listen({ port: 0, host: HOST }, { data: (connection, bytes) => connection.write(bytes) })
if (!('port' in address)) throw new Error('the server listens on no port')
report(address.port)
